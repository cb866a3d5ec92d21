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

/** Quote the name of a domain inside a list, where a comma or a colon would end it. */
const listed = (name) => (/[,:]/.test(name) && !name.includes('"') ? `"${name}"` : name);

/**
 * Return the options with which `mixfast propose` computes the least change to a goal, with its certificate; null if the goal is worse than
 * the value at the start, because they only improve metrics.
 */
export function reachOptions(model, { before, locked, held }, metric, goal, start) {
  if (metric.sign * (goal - start) >= 0) return null;
  const options = ["--reach", `${metric.name}${metric.sign > 0 ? "<=" : ">="}${goal}`, "--near", "near.yaml"];
  for (const j of held) if (j !== metric.j) options.push("--guard", `${model.metrics[j].name}=0`);
  for (const k of locked) options.push("--limit", `lock ${k + 1}:${listed(model.domains[k])}:${before[k]}..${before[k]}`);
  return options;
}

/** Return a command with these options, below the mixture to stay near. */
export function question({ model, command }, before, options) {
  const near = wholeYaml(model.domains, before).trimEnd().split("\n").map((line) => `# ${line}`);
  return ["# The exact answer; near.yaml is the mixture before the drag:", ...near, [...command, ...options].map(shell).join(" ")].join("\n");
}
