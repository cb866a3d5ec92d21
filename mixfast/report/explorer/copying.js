// The mixture as text: for files of mixfast, and for Megatron's command line.

const PLAIN = /^[A-Za-z_][A-Za-z0-9_-]*$/;
const WORDS = new Set(["true", "false", "null", "yes", "no", "on", "off", "y", "n"]);

function quoted(name) {
  return PLAIN.test(name) && !WORDS.has(name.toLowerCase()) ? name : JSON.stringify(name);
}

/** Most loaders refuse shares of 0. */
function present(domains, shares) {
  return domains.map((name, k) => [name, shares[k]]).filter(([, share]) => share > 0);
}

export const FORMATS = {
  yaml: (domains, shares) => present(domains, shares).map(([name, share]) => `${quoted(name)}: ${share}\n`).join(""),
  json: (domains, shares) => `${JSON.stringify(Object.fromEntries(present(domains, shares)), null, 2)}\n`,
  "Megatron blend": (domains, shares) => `${present(domains, shares).map(([name, share]) => `${share} ${name}`).join(" ")}\n`,
};

/** Write all shares as yaml, also those of 0. */
export function wholeYaml(domains, shares) {
  return domains.map((name, k) => `${quoted(name)}: ${shares[k]}\n`).join("");
}

/** Quote a word for a POSIX shell. */
export function shell(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
