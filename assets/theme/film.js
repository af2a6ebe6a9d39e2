// Plays the film of a run. props.value: what film_view of vit_demo/ui/tabs/finetune/film_html.py gives. The page puts before this what
// vit_demo/figures/overlay.py has,
// COLOURS: 256 of [red, green, blue] for the heat; SHARES: how much of it covers the photo where the map is lowest and highest.
const find = (name) => element.querySelector(`.film-${name}`);
const [note, stage, play, range, moment, photos, curve] = ['note', 'stage', 'play', 'range', 'moment', 'photos', 'curve'].map(find);
const still = matchMedia('(prefers-reduced-motion: reduce)');
const SIDE = 112; // pixels of the heat, which the page then smooths
const MARGIN = { left: 46, right: 12, top: 10, bottom: 24 };
let film = { run: null, frames: [] };
let words = {}; // in the language of the page
let shown = []; // of each photo: picture, canvas, the elements of what is said of it
let place = 0; // the moment shown, a number of a frame; between two whole ones one frame turns into the next
let playing = null; // since when and from which place

const last = () => film.frames.length - 1;
const milliseconds = () => Math.min(900, Math.max(160, 12000 / film.frames.length));
// A text with what belongs in its braces.
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// Each frame stands still for a while and then turns into the next.
function parts() {
    const from = Math.floor(place);
    const turned = still.matches ? 0 : Math.max(0, (place - from - 0.5) / 0.5);
    return { from, to: Math.min(from + 1, last()), turned, told: turned < 0.5 ? from : Math.min(from + 1, last()) };
}

function heat(first, second, turned) {
    const { rows, columns } = film;
    const sheet = new ImageData(SIDE, SIDE);
    const [low, high] = SHARES;
    const at = (pixel, count) => Math.min(count - 1, Math.max(0, (pixel + 0.5) * count / SIDE - 0.5));
    const value = (index) => first[index] * (1 - turned) + second[index] * turned;
    for (let y = 0; y < SIDE; y++) {
        const row = at(y, rows), top = Math.floor(row), down = row - top, bottom = Math.min(top + 1, rows - 1);
        for (let x = 0; x < SIDE; x++) {
            const column = at(x, columns), left = Math.floor(column), across = column - left, right = Math.min(left + 1, columns - 1);
            const above = value(top * columns + left) * (1 - across) + value(top * columns + right) * across;
            const below = value(bottom * columns + left) * (1 - across) + value(bottom * columns + right) * across;
            const level = above * (1 - down) + below * down;
            sheet.data.set(COLOURS[Math.round(level)], 4 * (y * SIDE + x));
            sheet.data[4 * (y * SIDE + x) + 3] = Math.round(255 * (low + (high - low) * level / 255));
        }
    }
    const canvas = new OffscreenCanvas(SIDE, SIDE);
    canvas.getContext('2d').putImageData(sheet, 0, 0);
    return canvas;
}

function draw() {
    if (!film.frames.length) return;
    const { from, to, turned, told } = parts();
    shown.forEach(({ picture, canvas, says, where }, number) => {
        const context = canvas.getContext('2d');
        if (picture.complete && picture.naturalWidth) {
            context.drawImage(picture, 0, 0, canvas.width, canvas.height);
            context.drawImage(heat(film.frames[from].maps[number], film.frames[to].maps[number], turned), 0, 0, canvas.width, canvas.height);
        }
        const said = film.frames[told].says[number];
        says.textContent = said.text;
        says.dataset.verdict = said.verdict;
        where.textContent = said.where;
        canvas.setAttribute('aria-label', filled(words.picture, { name: film.photos[number].name, where: said.where }));
    });
    const frame = film.frames[told];
    moment.setAttribute('aria-live', playing ? 'off' : 'polite'); // a frame a second would drown everything else
    if (moment.textContent !== frame.title) moment.textContent = frame.title;
    range.value = told;
    range.setAttribute('aria-valuetext', frame.title);
    play.textContent = playing ? words.pause : words.play;
    mark();
}

function tick(now) {
    if (!playing || !element.isConnected) return;
    // The time of a picture can be a little before that of the click.
    place = Math.min(playing.place + Math.max(0, now - playing.since) / milliseconds(), last());
    if (place >= last()) playing = null;
    draw();
    requestAnimationFrame(tick);
}

function begin() {
    if (place >= last()) place = 0;
    playing = { since: performance.now(), place };
    draw();
    requestAnimationFrame(tick);
}

function stop() {
    if (playing) place = parts().told;
    playing = null;
}

// The curve, drawn at the size it is shown at, so that its words stay readable on a phone.

function shape(name, attributes, text) {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
    if (text !== undefined) node.textContent = text;
    return node;
}

function scales() {
    const width = curve.clientWidth, height = curve.clientHeight;
    const highest = Math.max(...film.train[1], ...film.validation[1], 1e-6);
    const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
    return {
        right, bottom, highest,
        x: (step) => MARGIN.left + (right - MARGIN.left) * step / film.total,
        y: (loss) => bottom - (bottom - MARGIN.top) * loss / highest,
    };
}

function drawCurve() {
    if (!film.frames.length || !curve.clientWidth) return;
    const { x, y, right, bottom, highest } = scales();
    const nodes = [
        shape('path', { class: 'film-axis', d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}` }),
        shape('text', { x: MARGIN.left - 6, y: MARGIN.top + 8, 'text-anchor': 'end' }, highest.toPrecision(2)),
        shape('text', { x: MARGIN.left - 6, y: bottom, 'text-anchor': 'end' }, '0'),
        shape('text', { x: MARGIN.left, y: bottom + 17 }, filled(words.step, { step: 0 })),
        shape('text', { x: right, y: bottom + 17, 'text-anchor': 'end' }, filled(words.step, { step: film.total })),
        shape('text', { 'text-anchor': 'middle', transform: `translate(12 ${(bottom + MARGIN.top) / 2}) rotate(-90)` }, words.loss),
    ];
    for (const name of ['train', 'validation']) {
        const [steps, losses] = film[name];
        nodes.push(shape('polyline', { class: `film-line film-line-${name}`, points: steps.map((step, index) => `${x(step)},${y(losses[index])}`).join(' ') }));
    }
    film.frames.forEach(({ step, loss }) => { if (loss !== null) nodes.push(shape('circle', { class: 'film-dot', cx: x(step), cy: y(loss), r: 3.5 })); });
    nodes.push(shape('path', { class: 'film-now' }));
    curve.replaceChildren(...nodes);
    mark();
}

function mark() {
    const now = curve.querySelector('.film-now');
    if (!now) return;
    const { from, to, turned } = parts();
    const { x, bottom } = scales();
    const across = x(film.frames[from].step * (1 - turned) + film.frames[to].step * turned);
    now.setAttribute('d', `M${across} ${MARGIN.top - 6}V${bottom}`);
}

// A new film, or more of the one that is shown.

function layOut() {
    shown = film.photos.map(({ source }) => {
        const figure = document.createElement('figure'), canvas = document.createElement('canvas'), caption = document.createElement('figcaption');
        const [is, says, where] = ['is', 'says', 'where'].map((name) => Object.assign(document.createElement('span'), { className: `film-${name}` }));
        caption.append(is, says, where);
        canvas.setAttribute('role', 'img');
        const picture = new Image();
        picture.onload = () => {
            [canvas.width, canvas.height] = [2 * SIDE, 2 * SIDE];
            draw();
        };
        picture.src = source;
        figure.append(canvas, caption);
        photos.append(figure);
        return { picture, canvas, is, says, where };
    });
}

function tell() {
    element.querySelectorAll('[data-word]').forEach((part) => { part.firstChild.data = words[part.dataset.word]; });
    curve.setAttribute('aria-label', words.curve);
    shown.forEach(({ is }, number) => { is.textContent = filled(words.is, { label: film.photos[number].truth }); });
}

function take(given) {
    words = given.words;
    note.textContent = given.note || '';
    note.hidden = !given.note;
    stage.hidden = Boolean(given.note);
    const before = film, atEnd = place >= last(), step = before.frames.length ? before.frames[parts().from].step : 0;
    film = given.note ? { run: null, frames: [] } : { ...given, frames: given.frames.map((frame) => ({ ...frame, maps: frame.maps.map(bytes) })) };
    if (film.run !== before.run) {
        playing = null;
        photos.replaceChildren();
        shown = [];
        place = last();
        if (film.run) layOut();
    } else if (playing || !atEnd) {
        // Where it was, by the step: of a long film other frames may have been left out.
        const distances = film.frames.map((frame) => Math.abs(frame.step - step));
        place = distances.indexOf(Math.min(...distances)) + (playing ? place % 1 : 0);
        if (playing) playing = { since: performance.now(), place };
    } else {
        place = last();
    }
    range.max = Math.max(0, last());
    range.disabled = play.disabled = last() < 1;
    tell();
    draw();
    drawCurve();
}

play.addEventListener('click', () => {
    if (playing) stop(); else begin();
    draw();
});
range.addEventListener('input', () => {
    playing = null;
    place = Number(range.value);
    draw();
});
new ResizeObserver(drawCurve).observe(curve);
watch('value', () => take(props.value));
take(props.value);
