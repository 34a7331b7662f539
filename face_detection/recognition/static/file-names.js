// What the names of files say of the people in them.

import { pathOf } from "./pictures.js";

// Words that say nobody, alone or before numbers; and what cameras, phones and messengers put before theirs.
const WORDS =
  "image|images?|img|picture|pic|photo(?: on)?|foto|bild|imagen|scan|capture|download|unnamed|untitled|camera|webcam|selfie|face|avatar|" +
  "portrait|profile(?: pic(?:ture)?)?|(?:whatsapp|pasted|clipboard|telegram|signal)[ _-]image|attachment|file";
const SERIES =
  "dsc[nf]?|dscpdc|imgp?|mg|pxl|mvimg|sam|sdc|pict?|gopr|gp|dji|cimg|hpim|imag|kimg|vid|pano|burst|lrm|wp|fb[_ ]img|fbimg|p|r|l|c360|b612|" +
  "hdr|snow|mms|dcim|cam|im|received|signal|snapchat|telegram|screenrecording|beauty|faceapp";
// Between and behind the numbers: "2024-01-01 at 12.30.45 PM (1)", "20240101_123045789.PORTRAIT", "IMG-20240101-WA0001".
const REST = "(?:[\\s\\d._:()~,+-]|(?<![a-z])(?:at|um|[ap]m|utc|copy|kopie|edited|mp|hdr|night|portrait|cover|burst|original|bokeh|top)(?![a-z])|(?:wa|t|e|z)(?=\\d|$))*";
const SERIAL = new RegExp(`^_*(?:(?:${WORDS})${REST}|(?:${SERIES})[\\s_-]*e?\\d{3,}${REST}|\\d${REST})$`, "iu");
const SCREEN = /^(?:screen[ _-]?shots?|bildschirmfoto|captura de pantalla|capture d.[ée]cran|schermafbeelding)(?![\p{L}])/iu;
const UUID = /^[{(]?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}[)}]?(?:[\s_-]*\(?\d*\)?)$/iu;
const DIGEST = /^(?=.*\d)[0-9a-f]{16,}$/iu;

/** Tell whether a machine has made a name of a file, without its ending: it says nothing of who is in it. */
export const saysNobody = (name) => [SERIAL, SCREEN, UUID, DIGEST].some((pattern) => pattern.test(name));

/**
 * The name that a file suggests, as the command line has it: its folder's below the one chosen, else its own, which
 * may say nobody's.
 */
export function nameOf(file) {
  const [name = "", folder] = (pathOf(file) ?? "").split("/").reverse();
  if (folder !== undefined) return folder.normalize("NFC").trim();
  const own = name.replace(/\.[^.]*$/, "").normalize("NFC").trim();
  return saysNobody(own) ? "" : own;
}
