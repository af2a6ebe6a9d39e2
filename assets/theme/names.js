// Gradio gives a picture that can be touched no name. It gets that of its block, and a number where there are several in it.
(() => {
    const nameless = (button) => !button.textContent.trim() && !button.title && (!button.ariaLabel || button.dataset.named);
    const named = () => {
        for (const block of document.querySelectorAll('.block')) {
            const buttons = [...block.querySelectorAll('button:has(img)')].filter((button) => button.closest('.block') === block && nameless(button));
            const label = (block.querySelector('[data-testid=block-label], .label')?.textContent || '').trim() || 'Picture';
            buttons.forEach((button, index) => {
                const name = buttons.length > 1 ? `${label} ${index + 1}` : label;
                button.dataset.named = '';
                if (button.ariaLabel !== name) button.ariaLabel = name;
            });
        }
    };
    let waiting = false;
    const soon = () => {
        if (waiting) return;
        waiting = true;
        setTimeout(() => { waiting = false; named(); }, 200);
    };
    new MutationObserver(soon).observe(document, { childList: true, subtree: true, characterData: true });
})();
