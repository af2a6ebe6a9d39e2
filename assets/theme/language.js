// The browser's title, the page's language for screen readers, and Gradio's own words, such as "Clear" on a button, in the language that was chosen.
// Gradio takes its words from the language of the browser and has no public way to choose another. This is the one place that uses what is inside of it: where that is not found, its words stay in the language of the browser.
(() => {
    const REMEMBERED = 'vit_demo.locale';
    const core = performance.getEntriesByType('resource').map(({ name }) => name).find((name) => /\/assets\/core-[\w-]+\.js$/.test(name));
    const gradio = core ? import(core).catch(() => ({})) : Promise.resolve({});
    let current = '';

    const speak = (locale) => {
        if (!locale || locale === current) return;
        current = locale;
        document.documentElement.lang = locale;
        gradio.then(({ changeLocale }) => changeLocale?.(locale));
    };
    const remembered = () => {
        try {
            return localStorage.getItem(REMEMBERED);
        } catch { // a browser that keeps nothing
            return null;
        }
    };
    const remember = (locale) => {
        try {
            localStorage.setItem(REMEMBERED, locale);
        } catch { // as above: the next visit begins in the language of the browser
        }
    };
    const liked = () => {
        const ours = document.querySelector('meta[name=vit-demo-locales]').content.split(' ');
        const language = (locale) => locale.toLowerCase().split('-')[0];
        for (const wish of navigator.languages) {
            const found = ours.find((locale) => language(locale) === language(wish));
            if (found) return found;
        }
        return ours[0];
    };
    // Before Gradio draws anything: what it has drawn keeps its words until the page is loaded again.
    speak(remembered() ?? liked());

    let seen;
    const follow = () => {
        const words = document.querySelector('#page-words [data-locale]')?.dataset;
        if (!words) return;
        if (document.title !== words.title) document.title = words.title;
        // The page begins in English, and the server says a moment later in which language it goes on.
        const begins = seen === undefined, changed = words.locale !== seen;
        seen = words.locale;
        if (begins || !changed) return;
        speak(seen);
        remember(seen);
    };
    new MutationObserver(follow).observe(document, { childList: true, subtree: true });
})();
