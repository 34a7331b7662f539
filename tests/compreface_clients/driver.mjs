// Makes calls of CompreFace's client for JavaScript, as lines of JSON ask for: driver.py says how.
// Lies in the folder whose node_modules has the client. A call that is refused has the answer's data in "refused".
import { createInterface } from "node:readline";
import { CompreFace } from "@exadel/compreface-js-sdk";

const [host, port, text] = process.argv.slice(2);
const keys = JSON.parse(text);
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
console.log = console.error; // the client tells its key there

// Made anew for each call: what they return adds to the URL of the call before.
const recognition = (options) => new CompreFace(host, port, options).initFaceRecognitionService(keys.recognition);
const parts = {
  recognition: recognition,
  faces: (options) => recognition(options).getFaceCollection(),
  subjects: (options) => recognition(options).getSubjects(),
  detection: (options) => new CompreFace(host, port, options).initFaceDetectionService(keys.detection),
  verification: (options) => new CompreFace(host, port, options).initFaceVerificationService(keys.verification),
};
const NO_CALLS = ["constructor", "getFaceCollection", "getSubjects"];
const functions = (part) => [...Object.keys(part), ...Object.getOwnPropertyNames(Object.getPrototypeOf(part))]
  .filter((name) => typeof part[name] === "function" && !(name in Object.prototype) && !NO_CALLS.includes(name));

say(Object.entries(parts).flatMap(([name, make]) => functions(make({})).map((each) => `${name}.${each}`)).sort());
for await (const line of createInterface({ input: process.stdin })) {
  const [name, args, options] = JSON.parse(line);
  const [part, method] = name.split(".");
  try {
    say({ result: await parts[part](options)[method](...args) });
  } catch (error) {
    say(error.response ? { refused: error.response.data } : { raised: String(error) });
  }
}
