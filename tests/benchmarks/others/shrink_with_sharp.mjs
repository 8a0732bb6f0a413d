// sharp for `make bench`: jobs as JSON lines in, what each cost as JSON lines out.
// Its encoder does what Pillow's does: no optimised coding, colour at half the resolution.
import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.cache(false);
sharp.concurrency(1);

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  const data = await readFile(job.file);
  const before = process.cpuUsage();
  let content;
  for (let time = 0; time < job.times; time++) {
    content = await sharp(data, { limitInputPixels: false })
      .autoOrient()
      .flatten({ background: "#ffffff" })
      .resize(job.width, job.height, { fit: "fill" })
      .jpeg({ quality: 85, optimiseCoding: false, chromaSubsampling: "4:2:0" })
      .toBuffer();
  }
  const used = process.cpuUsage(before);
  await writeFile(job.out, content);
  const status = await readFile("/proc/self/status", "utf8");
  const peak = Number(/VmHWM:\s*(\d+)/.exec(status)[1]) / 1000;
  process.stdout.write(JSON.stringify({ ms: (used.user + used.system) / 1000 / job.times, peak }) + "\n");
}
