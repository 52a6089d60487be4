// Prints what an AsyncAPI tool finds in a document: `node validate.js asyncapi.json`.
const { readFileSync } = require('fs');
const { Parser } = require('@asyncapi/parser');

new Parser().parse(readFileSync(process.argv[2], 'utf8')).then(({ document, diagnostics }) => {
  const found = diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path: path.join('/'), message }));
  console.log(JSON.stringify({ valid: document !== undefined, found }));
});
