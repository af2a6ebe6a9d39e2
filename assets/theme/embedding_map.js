// Draws the map of a data set. props.value: what ui/tabs/inside/embedding_map_html.py gives, with all words, or only a note.
const find = (name) => element.querySelector(`.embedding-map-${name}`);
const [note, stage, canvas, tip, thumb, words, told, mistakes] = ['note', 'stage', 'canvas', 'tip', 'thumb', 'words', 'told', 'mistakes'].map(find);
const list = mistakes.querySelector('ul'), summary = mistakes.querySelector('summary');
const SPAN = 10000, PAD = 26, REACH = 26, CLOSEST = 24;
const INK = '#1c1917', QUIET = '#57534e';
let map = null;
let sheet = null; // thumbnails of the map of sheetKey
let sheetKey = '';
let over = -1, chosen = -1, pinned = false; // pinned: the chosen dot says its words also where nothing points at it
let view = { zoom: 1, x: SPAN / 2, y: SPAN / 2 }; // how large, and what stands in the middle
let drag = null;

// Where things stand.

function legendRows(context, width) {
    context.font = '13px system-ui, sans-serif';
    const items = map.labels.slice(0, map.most.classes).map((label) => ({ text: label.name, label }));
    if (map.labels.length > map.most.classes) items.push({ text: map.words.legend_more });
    if (map.wrong.includes(1)) items.push({ text: map.words.legend_wrong, wrong: true });
    const rows = [[]];
    let x = 12;
    for (const item of items) {
        const wide = context.measureText(item.text).width + 40;
        if (x + wide > width && rows.at(-1).length) { rows.push([]); x = 12; }
        rows.at(-1).push({ ...item, x });
        x += wide;
    }
    return rows;
}

function place() {
    const width = canvas.clientWidth, context = canvas.getContext('2d'), rows = legendRows(context, width);
    const top = 14 + 22 * rows.length, bottom = canvas.clientHeight - 26, left = map.axes[1] ? 26 : 4;
    const across = Math.max(...map.x), up = Math.max(...map.y);
    const scale = Math.min((width - left - 2 * PAD) / Math.max(across, 1), (bottom - top - 2 * PAD) / Math.max(up, 1)) * view.zoom;
    const middle = view.zoom === 1 ? { x: across / 2, y: up / 2 } : view;
    const centre = { x: (left + width) / 2, y: (top + bottom) / 2 };
    return {
        width, rows, top, bottom, left, scale,
        at: (index) => [centre.x + (map.x[index] - middle.x) * scale, centre.y - (map.y[index] - middle.y) * scale],
        middle,
    };
}

// The picture.

const CORNERS = {
    square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
    triangle: [[0, -1.15], [1.1, 0.8], [-1.1, 0.8]],
    down: [[0, 1.15], [1.1, -0.8], [-1.1, -0.8]],
    diamond: [[0, -1.25], [1.1, 0], [0, 1.25], [-1.1, 0]],
    pentagon: [0, 1, 2, 3, 4].map((corner) => [1.1 * Math.sin(corner * 1.2566), -1.1 * Math.cos(corner * 1.2566)]),
};

function symbol(context, label, x, y, radius) {
    context.beginPath();
    if (label.symbol === 'circle') context.arc(x, y, radius, 0, 2 * Math.PI);
    else CORNERS[label.symbol].forEach(([right, down]) => context.lineTo(x + right * radius, y + down * radius));
    context.closePath();
    context.fillStyle = label.colour;
    context.fill();
    context.lineWidth = 1;
    context.strokeStyle = '#fff';
    context.stroke();
}

function ring(context, x, y, radius) {
    context.lineWidth = 2;
    context.strokeStyle = '#000';
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    const side = radius * 0.45;
    context.moveTo(x - side, y - side); context.lineTo(x + side, y + side);
    context.moveTo(x + side, y - side); context.lineTo(x - side, y + side);
    context.stroke();
}

function frame(context, x, y, radius) {
    for (const [width, colour] of [[6, '#fff'], [3, '#15803d']]) {
        context.lineWidth = width;
        context.strokeStyle = colour;
        context.strokeRect(x - radius, y - radius, 2 * radius, 2 * radius);
    }
}

function draw() {
    if (!map || !canvas.clientWidth) return;
    const ratio = Math.max(1, devicePixelRatio), context = canvas.getContext('2d');
    [canvas.width, canvas.height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio];
    context.scale(ratio, ratio);
    const { width, rows, top, bottom, left, at } = place(), radius = (map.x.length > 600 ? 4 : 6) * Math.min(1.5, Math.sqrt(view.zoom));
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, canvas.clientHeight);
    context.save();
    context.beginPath();
    context.rect(left, top, width - left, bottom - top);
    context.clip();
    const order = [...map.x.keys()].sort((one, other) => map.wrong[one] - map.wrong[other]); // mistakes on top
    for (const index of order) {
        const [x, y] = at(index);
        symbol(context, map.labels[map.truth[index]], x, y, radius);
        if (map.wrong[index]) ring(context, x, y, radius + 3.5);
    }
    for (const index of [over, chosen]) if (index >= 0) frame(context, ...at(index), radius + 7);
    context.restore();
    context.strokeStyle = '#d6d3d1';
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, width - left - 1, bottom - top - 1);
    context.font = '13px system-ui, sans-serif';
    context.textBaseline = 'middle';
    rows.forEach((row, number) => row.forEach(({ text, label, wrong, x }) => {
        const y = 16 + 22 * number;
        if (label) symbol(context, label, x + 6, y, 6);
        if (wrong) ring(context, x + 6, y, 7);
        context.fillStyle = INK;
        context.fillText(text, x + (label || wrong ? 19 : 0), y);
    }));
    context.fillStyle = QUIET;
    context.font = '12px system-ui, sans-serif';
    context.textAlign = 'center';
    context.fillText(map.axes[0], (left + width) / 2, canvas.clientHeight - 11, width - left - 8);
    if (map.axes[1]) {
        context.translate(13, (top + bottom) / 2);
        context.rotate(-Math.PI / 2);
        context.fillText(map.axes[1], 0, 0, bottom - top);
    }
}

// A dot in words.

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const share = (value) => value >= 0.9995 && value < 1 ? map.words.over : `${(100 * value).toFixed(1).replace('.', map.words.decimal_point)}\u00a0%`;
const said = (index) => !map.comparable ? map.words.dot_says : map.wrong[index] ? map.words.dot_wrong : map.words.dot_right;
const lines = (index) => [
    map.names[index], fill(map.words.dot_is, { name: map.labels[map.truth[index]].name }),
    fill(said(index), { name: map.answers[map.said[index]], percent: share(map.sure[index]) }),
];

function thumbnail(target, index) {
    const context = target.getContext('2d'), { side, columns } = sheet;
    if (!sheet.picture.complete || !sheet.picture.naturalWidth) return;
    context.drawImage(sheet.picture, (index % columns) * side, Math.floor(index / columns) * side, side, side, 0, 0, target.width, target.height);
}

function showTip() {
    const index = over >= 0 ? over : pinned ? chosen : -1;
    tip.hidden = !map || index < 0;
    if (tip.hidden) return;
    const { at, top, bottom, left, width } = place(), [x, y] = at(index);
    if (x < left || x > width || y < top || y > bottom) { tip.hidden = true; return; }
    words.replaceChildren(...lines(index).map((text) => Object.assign(document.createElement('span'), { textContent: text })));
    thumbnail(thumb, index);
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(width - box.width - 4, x - box.width / 2))}px`;
    tip.style.top = `${y - box.height - 18 > 0 ? y - box.height - 18 : y + 18}px`;
}

function hover(index) {
    if (index === over) return;
    over = index;
    draw();
    showTip();
}

function choose(index, report) {
    [chosen, over, pinned] = [index, -1, true];
    follow(index);
    draw();
    showTip();
    told.textContent = lines(index).join('; ');
    list.querySelectorAll('button').forEach((button) => button.setAttribute('aria-pressed', String(Number(button.dataset.index) === index)));
    if (report) trigger('select', { index, value: index });
}

// Zoom and way.

function follow(index) {
    const { at, top, bottom, left, width } = place(), [x, y] = at(index);
    if (x < left + 8 || x > width - 8 || y < top + 8 || y > bottom - 8) Object.assign(view, { x: map.x[index], y: map.y[index] });
}

function zoom(factor) {
    const middle = chosen >= 0 ? { x: map.x[chosen], y: map.y[chosen] } : place().middle;
    view = { ...middle, zoom: Math.min(CLOSEST, Math.max(1, view.zoom * factor)) };
    canvas.style.touchAction = view.zoom > 1 ? 'none' : 'manipulation'; // zoomed, a finger moves the map and not the page
    draw();
    showTip();
}

function nearest(event) {
    const box = canvas.getBoundingClientRect(), { at } = place();
    const distance = (index) => Math.hypot(at(index)[0] - (event.clientX - box.left), at(index)[1] - (event.clientY - box.top));
    let best = -1, least = event.pointerType === 'touch' ? REACH : REACH / 2;
    for (const index of map.x.keys()) {
        const away = distance(index);
        if (away < least) [best, least] = [index, away];
    }
    return best;
}

// The next dot to this side: near, and not far off the straight way.
function neighbour(index, right, up) {
    let best = index, least = Infinity;
    for (const other of map.x.keys()) {
        const x = map.x[other] - map.x[index], y = map.y[other] - map.y[index];
        const ahead = x * right + y * up, aside = Math.abs(x * up - y * right);
        if (ahead > 0 && aside <= 2 * ahead && ahead + 2 * aside < least) [best, least] = [other, ahead + 2 * aside];
    }
    return best;
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
canvas.addEventListener('keydown', (event) => {
    if (WAYS[event.key]) choose(chosen < 0 ? 0 : neighbour(chosen, ...WAYS[event.key]), false);
    else if ((event.key === 'Enter' || event.key === ' ') && chosen >= 0) choose(chosen, true);
    else if (event.key === '+') zoom(1.6);
    else if (event.key === '-') zoom(1 / 1.6);
    else if (event.key === 'Escape') { chosen = -1; draw(); showTip(); }
    else return;
    event.preventDefault();
});
canvas.addEventListener('pointerdown', (event) => {
    drag = { x: event.clientX, y: event.clientY, moved: false };
    if (view.zoom > 1) canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener('pointermove', (event) => {
    if (!map) return;
    if (drag && view.zoom > 1) {
        const { scale } = place(), right = event.clientX - drag.x, down = event.clientY - drag.y;
        if (!drag.moved && Math.hypot(right, down) < 6) return;
        view = { zoom: view.zoom, x: view.x - right / scale, y: view.y + down / scale };
        drag = { x: event.clientX, y: event.clientY, moved: true };
        draw();
        showTip();
    } else if (event.pointerType !== 'touch') {
        hover(nearest(event));
        canvas.style.cursor = over >= 0 ? 'pointer' : view.zoom > 1 ? 'grab' : 'default';
    }
});
canvas.addEventListener('click', (event) => {
    const moved = drag?.moved;
    drag = null;
    const index = map && !moved ? nearest(event) : -1;
    if (index >= 0) choose(index, true);
    else if (map && !moved) { pinned = false; showTip(); } // so that what is behind it can be seen
});
canvas.addEventListener('pointercancel', () => { drag = null; });
canvas.addEventListener('pointerleave', (event) => {
    drag = null;
    if (!map) return;
    if (event.pointerType !== 'touch') pinned = false;
    over = -1;
    draw();
    showTip();
});
find('in').addEventListener('click', () => zoom(1.6));
find('out').addEventListener('click', () => zoom(1 / 1.6));
find('whole').addEventListener('click', () => zoom(0));
find('save').addEventListener('click', () => Object.assign(document.createElement('a'), { href: canvas.toDataURL('image/png'), download: 'map.png' }).click());

// A new map, or another layout of the one that is shown.

function listMistakes() {
    const wrong = [...map.x.keys()].filter((index) => map.wrong[index]).sort((one, other) => map.sure[other] - map.sure[one]);
    mistakes.hidden = !wrong.length;
    summary.textContent = map.words.mistakes;
    list.replaceChildren(...wrong.slice(0, map.most.mistakes).map((index) => {
        const item = document.createElement('li'), button = document.createElement('button'), picture = document.createElement('canvas');
        [picture.width, picture.height] = [sheet.side, sheet.side];
        button.type = 'button';
        button.dataset.index = index;
        button.setAttribute('aria-pressed', String(index === chosen));
        thumbnail(picture, index);
        const text = document.createElement('span');
        text.append(...lines(index).map((line) => Object.assign(document.createElement('span'), { textContent: line })));
        button.append(picture, text);
        button.addEventListener('click', () => choose(index, true));
        item.append(button);
        return item;
    }));
}

function take(given) {
    note.textContent = given.note || '';
    note.hidden = !given.note;
    stage.hidden = !given.key;
    if (!given.key) { map = null; tip.hidden = true; return; }
    const other = !map || map.key !== given.key, retold = !other && map.layout === given.layout; // the same in another language
    map = given;
    if (other) [chosen, told.textContent, mistakes.open] = [-1, '', false];
    if (given.sheet && sheetKey !== given.key) {
        sheetKey = given.key;
        sheet = { ...given.sheet, picture: new Image() };
        sheet.picture.onload = () => { listMistakes(); showTip(); };
        sheet.picture.src = given.sheet.source;
    }
    if (!retold) {
        [over, pinned, view.zoom] = [-1, false, 1];
        canvas.style.touchAction = 'manipulation';
    } else if (chosen >= 0) told.textContent = lines(chosen).join('; ');
    canvas.setAttribute('aria-label', map.words.canvas);
    for (const [name, text] of [['in', map.words.zoom_in], ['out', map.words.zoom_out]]) find(name).setAttribute('aria-label', text);
    [find('whole').textContent, find('save').textContent] = [map.words.whole, map.words.save];
    listMistakes();
    draw();
    showTip();
}

new ResizeObserver(() => { draw(); if (map) showTip(); }).observe(canvas);
watch('value', () => take(props.value));
take(props.value);
