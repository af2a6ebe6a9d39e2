// Takes photos in. props.value: parts in HTML that ui/bringview.py made, the import they are about, a name for the next one.
const parts = Object.fromEntries([...element.querySelectorAll('[data-part]')].map((part) => [part.dataset.part, part]));
const [form, name, label, known, start] = ['.bring-form', '#bring-name', '#bring-label', '#bring-known', '#bring-start'].map((found) => element.querySelector(found));
const EVENTS = { begin: 'upload', open: 'submit', done: 'submit', remove: 'delete' };
let job = null; // that is shown
let typed = false; // the name, by the person: then none is proposed
let polling = 0;
let again = { do: 'list' }; // what brings the head and the list once more
let heads = null; // the head by language, where it cannot be asked for again
let large = null; // the file that is too large, where the head says so

function ask(changes) {
    trigger(EVENTS[changes.do] || 'select', { index: 0, value: JSON.stringify(changes) });
}

function poll(wait) {
    clearTimeout(polling);
    polling = setTimeout(() => {
        if (element.offsetParent) ask({ do: 'news', name: job.name });
        poll(element.offsetParent ? 6000 : 700); // asks again where an answer is lost
    }, wait);
}

// Only parts that changed are drawn, and what was unfolded stays so.
function draw(fresh) {
    for (const [part, html] of Object.entries(fresh)) {
        if (parts[part].written === html) continue;
        const inside = parts[part].contains(document.activeElement) && document.activeElement.dataset.do;
        parts[part].innerHTML = html; // made by the server, with all names in it escaped
        parts[part].written = html;
        if (inside) parts[part].querySelector(`[data-do="${inside}"]`)?.focus({ preventScroll: true });
    }
}

function take(given) {
    if (!given) return;
    if (given.proposed) {
        form.querySelector('.bring-of').hidden = !given.proposed.photos;
        if (!typed) name.value = given.proposed.name;
    }
    if (given.known) known.replaceChildren(...given.known.map((text) => new Option(text, text)));
    draw(given.parts || {});
    if (given.parts?.head !== undefined) {
        [heads, large] = [given.heads || null, null];
        again = given.tells !== undefined ? { do: 'tell', name: given.tells } : given.job ? { do: 'again', name: given.job.name } : { do: 'list' };
    }
    if (given.job === undefined) return;
    const watched = given.begun || (job?.stage === 'running' && job.name === given.job?.name);
    job = given.job;
    start.disabled = job?.stage === 'running';
    clearTimeout(polling);
    if (start.disabled) poll(700);
    else if (watched && job?.stage === 'done') {
        [typed, label.value] = [false, ''];
        ask({ do: 'done', name: job.name });
    }
}

// Before anything is sent: gradio's own words say neither how large the file is nor what to do.
const most = Number(element.querySelector('.bring').dataset.most);
function refuse(event) {
    if (!element.isConnected) return ['change', 'drop'].forEach((type) => window.removeEventListener(type, refuse, true));
    const files = event.target.closest?.('#bring-files') ? [...(event.dataTransfer?.files ?? event.target.files ?? [])] : [];
    const found = files.find((file) => file.size > most);
    if (!found) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.type === 'change') event.target.value = '';
    [large, heads, again] = [found, null, { do: 'list' }];
    drawLarge();
    parts.head.firstChild.scrollIntoView({ block: 'center' });
}
function drawLarge() {
    const told = document.createElement('div');
    Object.assign(told, { className: 'answer answer-refused', role: 'alert' });
    const gigabytes = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GB`;
    told.append(Object.assign(document.createElement('p'), {
        textContent: say('data.bring.too_large', { name: large.name, size: gigabytes(large.size), most: gigabytes(most) }),
    }));
    parts.head.replaceChildren(told);
    parts.head.written = null;
}
['change', 'drop'].forEach((type) => window.addEventListener(type, refuse, true));

name.addEventListener('input', () => { typed = name.value !== ''; });
form.addEventListener('submit', (event) => {
    event.preventDefault();
    start.disabled = true;
    setTimeout(() => { start.disabled = job?.stage === 'running'; }, 6000); // where no answer comes
    ask({ do: 'begin', name: name.value, label: label.value });
});
element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-do]');
    if (!button) return;
    button.disabled = true; // once; drawn anew with the answer
    setTimeout(() => { button.disabled = false; }, 1000);
    ask({ do: button.dataset.do, name: button.dataset.name });
    if (button.dataset.do === 'tell') parts.head.scrollIntoView({ block: 'center' });
});
whenSpoken(() => {
    if (heads) draw({ head: heads[props.words.language] });
    if (large) drawLarge();
    ask(again);
});
watch('value', () => take(props.value));
take(props.value);
