// Curves and pictures on canvases.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function prepared(canvas) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return [pen, width, height];
}

function clock(seconds, digits = 1) {
  const s = Math.max(seconds, 0), hours = Math.floor(s / 3600), minutes = Math.floor(s / 60) % 60;
  const rest = (s % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

function roundStep(span, count) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
  return steps.find((step) => span / step <= count) || 86400;
}

// A recording between two times: spectrogram, rows of events, P(POS) with its threshold, axes.
function drawOverview(canvas, track, view, groups) {
  const [pen, width, height] = prepared(canvas);
  const left = 44, right = 6, rows = 12, axis = 18;
  const picture = Math.round((height - axis - 4 * rows) * 0.6), curveTop = picture + 4 * rows + 4;
  const curve = height - axis - curveTop, span = view[1] - view[0];
  const x = (s) => left + ((s - view[0]) / span) * (width - left - right);
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, width - left - right, height);
  pen.clip();
  if (track.bitmap && track.bitmap.naturalWidth) {
    if (dark()) pen.filter = "invert(1)";
    const per = track.bitmap.naturalWidth / track.duration;
    pen.drawImage(track.bitmap, view[0] * per, 0, span * per, track.bitmap.naturalHeight, left, 0, width - left - right, picture);
    pen.filter = "none";
  }
  groups.forEach(({ name, spans }, row) => {
    pen.fillStyle = colour(name);
    for (const [on, off] of spans) {
      if (off < view[0] || on > view[1]) continue;
      pen.fillRect(x(on), picture + 3 + row * rows, Math.max(x(off) - x(on), 2), rows - 4);
    }
  });
  const y = (p) => curveTop + curve * (1 - p), points = track.points, n = points.length;
  const first = Math.max(Math.floor((view[0] / track.duration) * n) - 1, 0);
  const last = Math.min(Math.ceil((view[1] / track.duration) * n) + 1, n);
  pen.strokeStyle = colour("curve");
  pen.lineWidth = 1.25;
  pen.beginPath();
  for (let i = first, column = -1, most = 0; i < last; i++) {
    const at = Math.round(x(((i + 0.5) / n) * track.duration));
    if (at !== column && column >= 0) { pen.lineTo(column, y(most)); most = 0; }
    column = at;
    most = Math.max(most, points[i] / 255);
    if (i === last - 1) pen.lineTo(column, y(most));
  }
  pen.stroke();
  pen.strokeStyle = colour("soft");
  pen.setLineDash([4, 4]);
  pen.beginPath();
  pen.moveTo(left, y(track.threshold));
  pen.lineTo(width - right, y(track.threshold));
  pen.stroke();
  pen.restore();
  pen.fillStyle = colour("soft");
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  if (track.top) for (const part of [0, 0.5, 1]) {
    pen.fillText(`${+((part * track.top) / 1000).toFixed(1)} kHz`, left - 4, Math.min(Math.max(picture * (1 - part), 7), picture - 6));
  }
  for (const p of [0, 1]) pen.fillText(String(p), left - 4, Math.min(Math.max(y(p), curveTop + 6), height - axis - 5));
  pen.textAlign = "center";
  pen.textBaseline = "bottom";
  const step = roundStep(span, Math.max(2, Math.floor((width - left) / 80)));
  for (let t = Math.ceil(view[0] / step) * step; t <= view[1]; t += step) {
    pen.fillText(clock(t, step < 1 ? 1 : 0), Math.min(Math.max(x(t), left + 14), width - 18), height - 2);
    pen.fillRect(x(t), height - axis, 1, 4);
  }
}

// Precision and recall of what is at or above each confidence.
function drawCurve(canvas, curve) {
  const [pen, width, height] = prepared(canvas);
  const left = 34, right = 8, top = 8, bottom = 30;
  const x = (c) => left + c * (width - left - right), y = (v) => top + (1 - v) * (height - top - bottom);
  pen.strokeStyle = colour("line");
  pen.fillStyle = colour("soft");
  pen.textBaseline = "middle";
  for (const part of [0, 0.25, 0.5, 0.75, 1]) {
    pen.textAlign = "right";
    pen.fillText(String(part * 100), left - 4, y(part));
    pen.textAlign = "center";
    pen.fillText(String(part), x(part), height - bottom + 10);
    pen.beginPath();
    pen.moveTo(left, y(part));
    pen.lineTo(width - right, y(part));
    pen.stroke();
  }
  pen.fillText("confidence", x(0.5), height - 6);
  [["precision", "accent", 1], ["recall", "fired", 2]].forEach(([name, ink, column], row) => {
    pen.strokeStyle = pen.fillStyle = colour(ink);
    pen.lineWidth = 2;
    pen.setLineDash(row ? [6, 3] : []);
    pen.beginPath();
    curve.forEach((point) => pen.lineTo(x(point[0]), y(point[column])));
    pen.stroke();
    pen.textAlign = "left";
    pen.fillText(name, left + 8, height - bottom - 24 + 14 * row);
  });
}
