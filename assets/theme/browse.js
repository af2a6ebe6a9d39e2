// Draws the photos of a data set page by page. props.value: what ui/tabs/data/browse.py answers; what is asked for goes with each answer and back.
const find = (name) => element.querySelector(`.browse-${name}`);
const [note, list, selects, grid, single, which, large, about, go] = ['note', 'list', 'selects', 'grid', 'photo', 'which', 'large', 'about', 'go'].map(find);
const [notes, told] = [find('notes'), element.querySelector('#data-notes')];
const [search, where, back, next, all, before, after] = ['search', 'where', 'back', 'next', 'all', 'before', 'after'].map((name) => element.querySelector(`#data-${name}`));
let asked = null; // what is shown
let wanted = null; // what was asked for last, and may still be on its way
let pages = 1, size = 24, total = 0;
let shownPage = ''; // what the page of photos in the grid was asked by
let runs = ''; // ids of those that are offered
let known = ''; // what is known of the photos, as they can be filtered by it
let typing = 0;

const make = (tag, values = {}, ...inside) => {
    const made = Object.assign(document.createElement(tag), values);
    made.append(...inside);
    return made;
};
// All that makes a page of photos another one.
const pageOf = (query) => JSON.stringify({ ...query, photo: -1 });

function ask(changes) {
    const base = wanted || asked;
    if (!base) return;
    wanted = { ...base, ...changes };
    element.classList.add('browse-waiting');
    trigger('select', { index: 0, value: JSON.stringify(wanted) });
}

// Other filters begin at the first page. A run is chosen for its mistakes.
function filter(name, value) {
    const other = name === 'run' ? { said: '', right: value ? 'wrong' : '', sort: value ? '-probability' : '', fields: true } : {};
    ask({ ...other, [name]: value, page: 0, photo: -1 });
}

function drawFields(fields) {
    runs = String((fields.find(({ name }) => name === 'run')?.options || []).slice(1).map(([id]) => id));
    selects.replaceChildren(...fields.map(({ name, title, options }) => {
        const select = make('select', { id: `data-${name}` }, ...options.map(([value, text]) => make('option', { value, textContent: text })));
        select.addEventListener('change', () => filter(name, select.value));
        return make('label', { textContent: title }, select);
    }));
}

function fillFields() {
    for (const select of selects.querySelectorAll('select')) select.value = asked[select.id.slice('data-'.length)];
    if (document.activeElement !== search) search.value = asked.text;
}

function drawRows(rows) {
    grid.replaceChildren(...rows.map(({ source, label, name, said }, number) => {
        const picture = source ? make('img', { src: source, alt: '' }) : make('span', { className: 'browse-broken', textContent: say('data.broken') });
        const words = make('span', { className: 'browse-label', textContent: label });
        if (said) words.append(make('span', { className: 'browse-said', textContent: say('data.browse.called', { said }) }));
        const tile = make('button', { type: 'button', title: name, className: said ? 'browse-wrong' : '' }, picture, words);
        tile.addEventListener('click', () => ask({ photo: asked.page * size + number }));
        return tile;
    }));
    shownPage = pageOf(asked);
}

function drawPhoto({ source, name, about: facts }) {
    large.replaceChildren(source ? make('img', { src: source, alt: name }) : make('span', { className: 'browse-broken', textContent: say('data.broken') }));
    about.innerHTML = facts; // a table that the server made, with all names in it escaped
    which.textContent = say('data.browse.which', { at: (asked.photo + 1).toLocaleString('en'), total: total.toLocaleString('en') });
    before.disabled = asked.photo <= 0;
    after.disabled = asked.photo >= total - 1;
}

function show(photo) {
    const turned = single.hidden === photo;
    list.hidden = photo;
    single.hidden = !photo;
    if (turned && photo && element.getBoundingClientRect().top < 0) element.scrollIntoView({ block: 'start' });
}

// Back to the page on which the photo is that was looked at last.
function showAll() {
    const page = Math.floor(asked.photo / size), photo = asked.photo;
    if (shownPage === pageOf({ ...asked, page })) {
        asked = wanted = { ...asked, page, photo: -1 };
        show(false);
        grid.children[photo % size]?.focus();
    } else ask({ page, photo: -1 });
}

function take(given) {
    if (!given || !given.asked) {
        // A run may have ended, or the photos been measured or checked, since the lists were drawn.
        if (given?.runs && asked && (String(given.runs) !== runs || given.known !== known)) ask({ fields: true });
        return;
    }
    element.classList.remove('browse-waiting');
    asked = wanted = given.asked;
    size = given.size;
    delete note.dataset.say; // from now on it says what the server does
    note.textContent = given.note || '';
    note.hidden = !given.note;
    if (given.fields) {
        drawFields(given.fields);
        told.replaceChildren(...given.notes.map((textContent) => make('li', { textContent })));
        notes.hidden = !given.notes.length;
        known = given.known;
    }
    fillFields();
    if (given.photo) {
        total = given.total;
        drawPhoto(given.photo);
    } else {
        pages = given.pages;
        where.textContent = given.where;
        back.disabled = asked.page <= 0;
        next.disabled = asked.page >= pages - 1;
        go.hidden = pages <= 3;
        drawRows(given.rows);
    }
    show(Boolean(given.photo));
}

search.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => filter('text', search.value), 250);
});
const turn = (by) => {
    const at = (wanted || asked).page + by;
    if (at >= 0 && at < pages) ask({ page: at, photo: -1 });
};
const step = (by) => {
    const at = (wanted || asked).photo + by;
    if (at >= 0 && at < total) ask({ photo: at });
};
back.addEventListener('click', () => turn(-1));
next.addEventListener('click', () => turn(1));
before.addEventListener('click', () => step(-1));
after.addEventListener('click', () => step(1));
all.addEventListener('click', showAll);
const number = go.querySelector('input');
number.addEventListener('change', () => {
    if (number.value) ask({ page: Math.min(pages, Math.max(1, Math.round(Number(number.value)))) - 1, photo: -1 });
    number.value = '';
});
document.addEventListener('keydown', (event) => {
    // Not where the arrows already mean something, and not for a view that is not looked at.
    const busy = event.target.closest?.('input, select, textarea, [contenteditable], [role="tab"], [role="listbox"], [role="slider"], canvas, dialog');
    if (!asked || busy || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || element.offsetParent === null) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) {
        event.preventDefault();
        if (single.hidden) turn(by); else step(by);
    } else if (event.key === 'Escape' && !single.hidden) showAll();
});
whenSpoken(() => ask({ fields: true }));
watch('value', () => take(props.value));
take(props.value);
