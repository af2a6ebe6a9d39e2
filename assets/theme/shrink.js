// Scales a large photo down before it is uploaded, for slow connections: the model sees far fewer pixels than a phone takes.
// Whatever it does not know for sure to be a still photo (HEIC, animations, broken files) goes as it is; the server decides.
const LONGEST = 1600; // pixels of the longer side
const QUALITY = 0.9; // of the JPEG that takes the place of the photo
const KINDS = ['image/jpeg', 'image/png', 'image/webp'];

async function animated(file) {
    const head = new TextDecoder('latin1').decode(await file.slice(0, 4096).arrayBuffer());
    return file.type !== 'image/jpeg' && /acTL|ANIM/.test(head);
}

async function shrunk(file) {
    if (await animated(file)) return file;
    const picture = await createImageBitmap(file, { imageOrientation: 'from-image' });
    const scale = LONGEST / Math.max(picture.width, picture.height);
    if (scale >= 1) return file;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
    const context = canvas.getContext('2d');
    context.fillStyle = '#fff'; // where the photo is transparent, as on the server
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingQuality = 'high';
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    picture.close();
    const blob = await new Promise((done) => canvas.toBlob(done, 'image/jpeg', QUALITY));
    if (!blob || blob.size >= file.size) return file;
    return new File([blob], `${file.name.replace(/\.[^.]*$/, '')}.jpg`, { type: 'image/jpeg' });
}

const ours = new WeakSet(); // the events that hand a photo on

async function allShrunk(files) {
    const photos = [];
    for (const file of files) photos.push(KINDS.includes(file.type) ? await shrunk(file).catch(() => file) : file); // one after the other: a phone has little memory
    return photos;
}

function listen(event) {
    const input = event.target, files = [...(input.files ?? [])];
    const most = { 'diagnose-photo': 1, 'several-photos': 12 }[input.closest?.('#diagnose-photo, #several-photos')?.id] ?? 0;
    if (ours.has(event) || files.length < 1 || files.length > most || !files.some((file) => KINDS.includes(file.type))) return;
    event.stopImmediatePropagation();
    allShrunk(files).then((photos) => {
        if (photos.some((photo, index) => photo !== files[index])) {
            const chosen = new DataTransfer();
            photos.forEach((photo) => chosen.items.add(photo));
            input.files = chosen.files;
        }
        const handOn = new Event('change', { bubbles: true });
        ours.add(handOn);
        input.dispatchEvent(handOn);
    });
}

// Once a page, even where this is loaded again: two of them would hand a photo to each other for ever.
if (!window.vitDemoShrinks) {
    window.vitDemoShrinks = true;
    window.addEventListener('change', listen, true);
}
