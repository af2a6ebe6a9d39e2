// Names for screen readers. Gradio gives a picture that can be touched none: it gets that of its block, and a number where there are several in it.
// Names that Gradio has in English alone, or tells once and no more, are told in the language of the page.
(() => {
    const words = () => document.querySelector('#page-words [data-picture]')?.dataset;
    const nameless = (button) => !button.textContent.trim() && !button.title && (!button.ariaLabel || 'named' in button.dataset);
    const named = () => {
        const blocks = new Map();
        for (const image of document.querySelectorAll('button img')) {
            const button = image.closest('button'), block = button.closest('.block');
            if (block && nameless(button)) blocks.set(block, [...(blocks.get(block) || []), button]);
        }
        const word = words()?.picture ?? '';
        for (const [block, buttons] of blocks) {
            const label = (block.querySelector('[data-testid=block-label], .label')?.textContent || '').trim() || word;
            buttons.forEach((button, index) => {
                const name = buttons.length > 1 ? `${label} ${index + 1}` : label;
                button.dataset.named = '';
                if (button.ariaLabel !== name) button.ariaLabel = name;
            });
        }
    };

    const translated = () => {
        const names = JSON.parse(words()?.names ?? '{}');
        for (const element of document.querySelectorAll('[aria-label], [title], [data-title]')) {
            for (const attribute of ['aria-label', 'title', 'data-title']) {
                const name = element.getAttribute(attribute);
                if (Object.hasOwn(names, name) && names[name] !== name) element.setAttribute(attribute, names[name]);
            }
        }
    };

    let waiting = false, changed = false;
    // At once, then at most each 300 ms while the page changes.
    const soon = () => {
        changed = true;
        if (waiting) return;
        waiting = true;
        changed = false;
        named();
        translated();
        setTimeout(() => { waiting = false; if (changed) soon(); }, 300);
    };
    new MutationObserver(soon).observe(document, { childList: true, subtree: true, characterData: true });
})();
