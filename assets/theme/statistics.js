// The statistics that are shown are asked for again in another language. The name of the prop is not put in quotes: Gradio takes that for an event.
watch(Object.keys({ words: 0 }), () => {
    const shown = element.querySelector('[data-source]');
    if (shown) trigger('select', { index: 0, value: shown.dataset.source });
});
