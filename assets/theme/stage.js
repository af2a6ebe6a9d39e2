// Stands before the script of each view of the Data tab. props.words: {language, texts by key}, sent anew when the page speaks another language.
const say = (key, values = {}) => Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, () => value), props.words.texts[key]);

// What always stands in the view. The text is the first thing in its element, a field may follow.
function speak() {
    for (const part of element.querySelectorAll('[data-say]')) part.firstChild.nodeValue = say(part.dataset.say);
    for (const part of element.querySelectorAll('[data-say-placeholder]')) part.placeholder = say(part.dataset.sayPlaceholder);
}

// again: asks for what is shown in the other language. The name of the prop is not put in quotes: Gradio takes what is quoted in a script for an event.
// eslint-disable-next-line no-unused-vars -- by the scripts that come after this one
const whenSpoken = (again) => watch(Object.keys({ words: 0 }), () => {
    speak();
    again();
});
speak();
