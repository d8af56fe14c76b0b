"""The image's recipe: what it copies is what there is, and it says the same as the chart."""

import pathlib
import re
import subprocess
import sys
import unittest

from rendering import TREE, render

RECIPE = (TREE / "Containerfile").read_text()
WORKSPACE = (TREE / "Cargo.toml").read_text()


def value(manifest, key):
    return re.search(rf'^{key} = "(.+)"$', manifest, re.MULTILINE).group(1)


class Image(unittest.TestCase):
    def test_hadolint_finds_nothing(self):
        hadolint = pathlib.Path(sys.executable).with_name("hadolint")
        run = subprocess.run(
            [hadolint, "--failure-threshold=style", TREE / "Containerfile"], capture_output=True, text=True
        )
        self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))

    def test_what_a_build_needs_is_copied_and_not_ignored(self):
        copied = set()
        for line in re.findall(r"^COPY (?!--from)(.+)$", RECIPE, re.MULTILINE):
            copied.update(line.split()[:-1])
        for path in copied:
            self.assertTrue((TREE / path).exists(), path)
        directories = {path for path in copied if (TREE / path).is_dir()}
        members = re.search(r"^members = \[(.+?)\]$", WORKSPACE, re.MULTILINE | re.DOTALL).group(1)
        members = {member.split("/")[0] for member in re.findall(r'"([^"]+)"', members)}
        self.assertEqual(directories, members)
        ignore = (TREE / ".containerignore").read_text().splitlines()
        self.assertEqual({line[1:] for line in ignore if line.startswith("!")}, copied)
        self.assertIn("*", ignore)

    def test_the_program_is_one_of_the_tree(self):
        package = re.search(r"cargo build --release --locked --package (\S+) --bin (\S+)", RECIPE)
        name = value((TREE / package.group(1) / "Cargo.toml").read_text(), "name")
        self.assertEqual(name, package.group(1))
        self.assertTrue((TREE / package.group(1) / "src/main.rs").exists())
        self.assertEqual(package.group(2), name)
        self.assertIn(f'ENTRYPOINT ["/{package.group(2)}"]', RECIPE)

    def test_the_compiler_is_the_oldest_that_the_tree_is_for(self):
        version = value(WORKSPACE, "rust-version")
        self.assertIn(f"/rust:{version}-alpine\n", RECIPE)

    def test_the_image_has_the_program_only_and_the_user_and_ports_of_the_chart(self):
        build, final = RECIPE.split("\nFROM scratch\n")
        self.assertNotIn("RUN", final)
        self.assertEqual(re.findall(r"^COPY .*$", final, re.MULTILINE), ["COPY --from=build /image/ /"])
        self.assertEqual(len(re.findall(r"/image/(\w+)", build)), 2)
        pod = next(text for key, text in render({}).items() if key[0] == "Deployment")
        user = re.search(r"^USER (\d+):(\d+)$", final, re.MULTILINE)
        self.assertIn(f"runAsUser: {user.group(1)}\n", pod)
        self.assertIn(f"runAsGroup: {user.group(2)}\n", pod)
        ports = re.search(r"^EXPOSE (.+)$", final, re.MULTILINE).group(1).split()
        self.assertEqual(sorted(ports), sorted(re.findall(r"containerPort: (\d+)", pod)))

    def test_the_chart_is_for_the_program_of_this_tree(self):
        chart = (TREE / "charts/linkerd-autoregistration/Chart.yaml").read_text()
        self.assertIn(f"\nappVersion: {value(WORKSPACE, 'version')}\n", chart)


if __name__ == "__main__":
    unittest.main()
