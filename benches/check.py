#!/usr/bin/env python3
"""Checks the report on recorded samples of every program's output: sample/ holds a smoke run, and Burn's lines of a whole one."""

import json
import shutil
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import plot
import report

SAMPLE = Path(__file__).resolve().parent / "sample"


def row(text, start):
    """The cells of the first table row that starts so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        shutil.copytree(SAMPLE / "results", self.folder / "results")

    def edit(self, name, change):
        path = self.folder / "results" / name
        records = [json.loads(line) for line in path.read_text().splitlines()]
        records = [record for record in map(change, records) if record]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))

    def written(self):
        report.write(self.folder)
        return (self.folder / "RESULTS.md").read_text()

    def test_goals_are_judged_by_the_records(self):
        def step(record):
            for line in record.get("lines", []):
                if record["of"] == "seemore" and line.get("variant") == "step":
                    line |= {"median_ms": 1000.0, "cpu_ms": 3000.0}
            return record

        self.edit("software/peers.json", step)
        text = self.written()
        self.assertEqual(row(text, "training step |")[2:4], ["3 s", "no: 80 % of the way"])
        # Burn's recorded step takes 4927 ms
        self.assertEqual(row(text, "training step against Burn")[2:4], ["4.93 times", "yes"])
        self.assertEqual(row(text, "first training step")[4], "Burn: 176 s")

    def test_a_peer_is_compared_with_its_neighbours(self):
        run = report.Run(SAMPLE / "results/software/peers.json")
        peer = run.of("pytorch", "train")[0]
        at = run.records.index(peer)
        steps = [index for index, record in enumerate(run.records) if (record["of"], record["what"]) == ("seemore", "train")]
        near = [max(index for index in steps if index < at), min(index for index in steps if index > at)]
        self.assertEqual(run.beside(peer, "train", lambda record: run.records.index(record)), sum(near) / 2)

    def test_what_was_not_measured_is_said(self):
        self.edit("software/peers.json", lambda record: record if record["of"] in ("machine", "seemore") else None)
        text = self.written()
        self.assertEqual(row(text, "training step against Burn")[2:4], ["-", "not measured"])
        self.assertEqual(row(text, "decoded token with a key/value cache")[2:4], ["-", "not measured"])

    def test_a_process_that_failed_is_shown_and_not_counted(self):
        def fail(record):
            if record["of"] == "burn":
                record["error"] = "it broke"
            return record

        self.edit("software/peers.json", fail)
        text = self.written()
        self.assertIn("# failed: it broke", text)
        self.assertEqual(row(text, "training step against Burn")[3], "not measured")

    def test_figures_of_a_gpu_come_from_a_gpu(self):
        self.assertIn("matrix product 64x64x64, f32", self.written())
        self.edit("gpu/gpu.json", lambda record: record | {"smoke": False} if record["of"] == "machine" else record)
        with self.assertRaisesRegex(SystemExit, "not from a GPU"):
            self.written()
        (self.folder / "results/gpu/gpu.json").unlink()
        self.assertIn("No GPU was at hand", self.written())

    def test_growth_is_fitted_and_plotted(self):
        def grow(record):
            for line in record.get("lines", []):
                if line["variant"] == "step":
                    # squared in the batch, and in the side, which is linear in the pixels
                    line["cpu_ms"] = 5.0 * record["size"] ** 2
            return record

        self.edit("software/scale.json", grow)
        text = self.written()
        self.assertEqual(row(text, "pictures |")[1], "2")
        self.assertEqual(row(text, "pixels (the side squared)")[1], "1")
        for name in ("scale-time.svg", "scale-memory.svg"):
            texts = [element.text for element in ElementTree.parse(self.folder / name).iter("{http://www.w3.org/2000/svg}text")]
            self.assertIn("by batch size", texts)
        self.assertIn("CPU, exponent 2.00", [e.text for e in ElementTree.parse(self.folder / "scale-time.svg").iter("{http://www.w3.org/2000/svg}text")])

    def test_the_exponent_is_that_of_the_upper_half(self):
        self.assertAlmostEqual(plot.exponent([(x, max(7.0, x**1.5)) for x in (1, 2, 3, 16, 64, 256)]), 1.5)
        self.assertIsNone(plot.exponent([(1, 1)]))


if __name__ == "__main__":
    unittest.main()
