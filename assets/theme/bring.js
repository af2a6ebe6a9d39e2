// Takes photos in. props.value: parts in HTML that ui/tabs/data/bring.py made, the import they are about, a name for the next one, how an upload is understood.
const parts = Object.fromEntries([...element.querySelectorAll('[data-part]')].map((part) => [part.dataset.part, part]));
const [form, name, label, known, start, why] = ['.bring-form', '#bring-name', '#bring-label', '#bring-known', '#bring-start', '#bring-asked'].map((found) => element.querySelector(found));
const EVENTS = { begin: 'upload', look: 'apply', open: 'submit', done: 'submit', remove: 'delete' };
let job = null; // that is shown
let typed = false; // the name, by the person: then none is proposed
let polling = 0;
let again = { do: 'list' }; // what brings the head and the list once more
let heads = null; // the head by language, where it cannot be asked for again
let large = null; // the file that is too large, where the head says so
let plan = null; // how the upload is understood: { of, told, going, ready, asked }; null where there is nothing to understand
let told = new Map(); // what the person said of it
let looking = 0;

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

// Only parts that changed are drawn; what was unfolded stays so, and the keyboard where it was.
function draw(fresh) {
    for (const [part, html] of Object.entries(fresh)) {
        if (parts[part].written === html) continue;
        const inside = parts[part].contains(document.activeElement) ? { ...document.activeElement.dataset } : {};
        const folds = Object.fromEntries(foldsOf(part).map((fold) => [fold.dataset.fold, fold.open]));
        parts[part].innerHTML = html; // made by the server, with all names in it escaped
        parts[part].written = html;
        for (const fold of foldsOf(part)) fold.open = folds[fold.dataset.fold] ?? fold.open;
        const same = (key) => inside[key] && [...parts[part].querySelectorAll(`[data-${key}]`)].find((one) => one.dataset[key] === inside[key]);
        (same('do') || same('option'))?.focus({ preventScroll: true });
    }
}
const foldsOf = (part) => [...parts[part].querySelectorAll('[data-fold]')];

// What can be pressed now.
function allow() {
    start.disabled = job?.stage === 'running' || Boolean(plan && (plan.going || !plan.ready));
    why.hidden = !(plan && !plan.going && plan.asked);
    parts.plan.setAttribute('aria-busy', String(Boolean(plan?.going)));
}

const lookAgain = () => ask({ do: 'look', of: plan.of, told: [...told] });
// Asks until it is known how the upload is understood; again where an answer is lost.
function lookSoon(wait) {
    clearTimeout(looking);
    looking = setTimeout(() => {
        if (!plan?.going) return;
        if (element.offsetParent) lookAgain();
        lookSoon(element.offsetParent ? 6000 : 700);
    }, wait);
}

// Not what was asked before the last correction, or about other files.
const isStale = ({ proposed, plan: answer }) => !proposed && answer && (answer.of !== plan?.of || JSON.stringify(answer.told) !== JSON.stringify([...told]));
function takePlan(given) {
    if (given.proposed) told = new Map(given.plan?.told);
    plan = given.plan;
    if (!plan) told.clear();
    if (plan?.going) lookSoon(700);
}

function tell(option, value) {
    if (!plan) return;
    if (value) told.set(option, value);
    else told.delete(option);
    plan.going = true;
    allow();
    lookAgain();
    lookSoon(6000);
}

function take(given) {
    if (!given || isStale(given)) return;
    if (given.proposed) {
        form.querySelector('.bring-of').hidden = !given.proposed.photos;
        if (!typed) name.value = given.proposed.name;
    }
    if (given.known) known.replaceChildren(...given.known.map((text) => new Option(text, text)));
    if (given.plan !== undefined) takePlan(given);
    draw(given.parts || {});
    if (given.begun) hidePlan();
    allow();
    if (given.parts?.head !== undefined) {
        [heads, large] = [given.heads || null, null];
        again = given.tells !== undefined ? { do: 'tell', name: given.tells } : given.job ? { do: 'again', name: given.job.name } : { do: 'list' };
    }
    if (given.job === undefined) return;
    const watched = given.begun || (job?.stage === 'running' && job.name === given.job?.name);
    job = given.job;
    allow();
    clearTimeout(polling);
    if (job?.stage === 'running') poll(700);
    else if (watched && job?.stage === 'done') {
        [typed, label.value] = [false, ''];
        ask({ do: 'done', name: job.name });
    } else if (watched && plan) { // nothing was taken in: it can be corrected and begun again
        plan.going = true;
        allow();
        lookAgain();
    }
}

// While the files are taken in there is nothing to correct.
function hidePlan() {
    draw({ looking: '', plan: '' });
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
    const refusal = document.createElement('div');
    Object.assign(refusal, { className: 'answer answer-refused', role: 'alert' });
    const gigabytes = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GB`;
    refusal.append(Object.assign(document.createElement('p'), {
        textContent: say('data.bring.too_large', { name: large.name, size: gigabytes(large.size), most: gigabytes(most) }),
    }));
    parts.head.replaceChildren(refusal);
    parts.head.written = null;
}
['change', 'drop'].forEach((type) => window.addEventListener(type, refuse, true));

name.addEventListener('input', () => { typed = name.value !== ''; });
form.addEventListener('submit', (event) => {
    event.preventDefault();
    if (plan && (plan.going || !plan.ready)) return;
    start.disabled = true;
    setTimeout(allow, 6000); // where no answer comes
    ask({ do: 'begin', name: name.value, label: label.value, told: [...told] });
});
element.addEventListener('change', (event) => {
    if (event.target.dataset.option) tell(event.target.dataset.option, event.target.value.trim());
});
element.addEventListener('click', (event) => {
    const said = event.target.closest('button[data-option]');
    if (said) return tell(said.dataset.option, said.dataset.to);
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
    if (plan && parts.plan.innerHTML) lookAgain();
});
watch('value', () => take(props.value));
take(props.value);
