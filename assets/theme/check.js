// Shows what is wrong with a data set. props.value: the parts in HTML that ui/tabs/data/check.py made; what is shown goes back with each click.
const parts = Object.fromEntries([...element.querySelectorAll('[data-part]')].map((part) => [part.dataset.part, part]));
const AWAY = { train: 'submit', folder: 'download', parquet: 'download', push: 'download' };
let asked = null; // what is shown
let busyUntil = 0; // a second press of a button must not decide about the next photo; passes by itself where an answer is lost
let polling = 0;

function ask(changes) {
    if (!asked) return;
    const open = Boolean(parts.journal.querySelector('details')?.open);
    trigger(AWAY[changes.do] || 'select', { index: 0, value: JSON.stringify({ open, ...asked, ...changes }) });
}

function poll(delay) {
    clearTimeout(polling);
    polling = setTimeout(() => {
        // Not while nobody looks: coming back to the view asks anew.
        if (!asked.reading || !element.offsetParent) return;
        ask({ do: 'news' });
        poll(8000); // where the answer is lost
    }, delay);
}

// Only parts that changed are drawn, and the keyboard stays where it was.
function draw(fresh) {
    const active = element.contains(document.activeElement) ? document.activeElement : null;
    const again = active?.dataset.do && `[data-do="${active.dataset.do}"]:not(:disabled)`, home = active?.closest('[data-part]');
    for (const [name, html] of Object.entries(fresh)) {
        if (parts[name].written === html) continue;
        parts[name].innerHTML = html; // made by the server, with all names in it escaped
        parts[name].written = html;
    }
    if (active && !active.isConnected) (home.querySelector(again || 'h3') || parts.one.querySelector('h3') || parts.head.querySelector('button'))?.focus({ preventScroll: true });
}

function take(given) {
    if (!given?.parts) return;
    const moved = asked && asked.photos && String(asked.photos) !== String(given.asked.photos);
    [asked, busyUntil] = [given.asked, 0];
    element.classList.remove('check-waiting');
    draw(given.parts);
    if (moved && parts.one.getBoundingClientRect().top < 0) parts.one.scrollIntoView({ block: 'start' });
    if (asked.reading) poll(700);
    const journal = parts.journal.querySelector('details');
    if (journal?.open && !journal.querySelector('[data-mark]')) ask({ do: 'journal', open: true });
}

element.addEventListener('click', (event) => {
    const button = event.target.closest('[data-do]');
    if (!button) return;
    const { do: what, to, photo, number } = button.dataset;
    if (what === 'journal') { // opens or closes after this
        if (!button.parentElement.open && !parts.journal.querySelector('[data-mark]')) ask({ do: what, open: true });
        return;
    }
    if (Date.now() < busyUntil) return;
    if (!AWAY[what]) { // what is taken away is not answered here
        busyUntil = Date.now() + 3000;
        element.classList.add('check-waiting');
    }
    const field = button.closest('.check-choice')?.querySelector('select, input');
    ask({ do: what, to: field?.value ?? to ?? '', photo: Number(photo ?? 0), number: Number(number ?? 0) });
});
whenSpoken(() => ask({ do: 'again' }));
watch('value', () => take(props.value));
take(props.value);
