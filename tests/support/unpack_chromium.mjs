// Unpacks the Chromium that npm brought, with the libraries and fonts that it needs, into a folder.
// The package is made for AWS Lambda: it unpacks below the folder for temporary files, and brings
// its libraries along only where it believes to be there.

import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const folder = resolve(process.argv[2]);
mkdirSync(folder, { recursive: true });
process.env.TMPDIR = folder;
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";

const { default: chromium } = await import("@sparticuz/chromium");
await chromium.executablePath();

// Its own configuration looks for the fonts where Lambda has its files, and without any font
// Chromium dies at the first password field.
writeFileSync(
  join(folder, "fonts", "fonts.conf"),
  `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${join(folder, "fonts")}</dir>
  <cachedir>${join(folder, "fonts-cache")}</cachedir>
</fontconfig>
`,
);
