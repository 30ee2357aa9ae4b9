// A field that takes files, dropped on it or chosen.

/** `onFiles` gets an array of files. */
export function takeFiles(input, onFiles) {
  const zone = input.closest('.drop');
  input.addEventListener('change', () => {
    const files = [...input.files];
    input.value = ''; // the same file may come again
    if (files.length) onFiles(files);
  });
  for (const type of ['dragenter', 'dragover']) {
    zone.addEventListener(type, (event) => {
      event.preventDefault();
      zone.classList.add('over');
    });
  }
  zone.addEventListener('dragleave', () => zone.classList.remove('over'));
  zone.addEventListener('drop', (event) => {
    event.preventDefault();
    zone.classList.remove('over');
    const files = [...event.dataTransfer.files];
    if (files.length) onFiles(input.multiple ? files : files.slice(0, 1));
  });
}

// A file dropped beside the fields would take the place of the page.
for (const type of ['dragover', 'drop']) document.addEventListener(type, (event) => event.preventDefault());
