// Answers, kept in the browser, and the files they are saved as.

class Marks {
  constructor(name, items, key) {
    this.name = name;
    this.key = key;
    this.answers = {};
    this.history = [];
    for (const item of items) if (item.mark) this.answers[key(item)] = item.mark;
    try {
      Object.assign(this.answers, JSON.parse(localStorage.getItem(name) || "{}"));
    } catch (error) { /* storage that is off or damaged: marks last as long as the page */ }
  }

  of(item) { return this.answers[this.key(item)] || ""; }

  set(item, answer) {
    this.history.push([item, this.of(item)]);
    this.put(item, answer);
  }

  put(item, answer) {
    if (answer) this.answers[this.key(item)] = answer; else delete this.answers[this.key(item)];
    this.keep();
  }

  undo() {
    const last = this.history.pop();
    if (last) this.put(last[0], last[1]);
    return last ? last[0] : null;
  }

  clear() {
    this.answers = {};
    this.history = [];
    this.keep();
  }

  keep() {
    try {
      localStorage.setItem(this.name, JSON.stringify(this.answers));
    } catch (error) { /* see above */ }
  }
}

const flat = (text) => String(text).replace(/[\t\r\n]+/g, " ");
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : String(text));
// Shortest decimal without an exponent, as the readers take it.
const decimal = (value) => (String(value).includes("e") ? value.toFixed(12) : String(value));

// Marked items, each {file, label, on, off, conf, low, high, answer}, as text.
const FORMS = {
  csv(rows) {
    const lines = ["recording,onset_s,offset_s,label,confidence,mark"];
    for (const r of rows) {
      lines.push([quoted(r.file), decimal(r.on), decimal(r.off), quoted(r.label), decimal(r.conf), r.answer].join(","));
    }
    return lines.join("\n") + "\n";
  },
  raven(rows) {
    const lines = [["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
      "Begin File", "File Offset (s)", "Annotation", "Confidence", "Mark"].join("\t")];
    rows.forEach((r, i) => lines.push([i + 1, "Spectrogram 1", 1, decimal(r.start + r.on), decimal(r.start + r.off),
      decimal(r.low), decimal(r.high), flat(r.file), decimal(r.on), flat(r.label), decimal(r.conf), r.answer].join("\t")));
    return lines.join("\n") + "\n";
  },
  audacity(rows) {
    return rows.map((r) => `${decimal(r.on)}\t${decimal(r.off)}\t${flat(r.label)} / ${r.answer}\n`).join("");
  },
};

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
