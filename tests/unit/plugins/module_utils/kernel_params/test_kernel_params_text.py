# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params import grub, memory, modprobe, words
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.host import Host
from ansible_collections.lamplighter.fleet.plugins.module_utils.kernel_params.words import KernelParamsError, Param
from ansible_collections.lamplighter.fleet.plugins.module_utils.sysroot import Sysroot
from hypothesis import given
from hypothesis import strategies as st

GIB = 1024**3

REPLACEMENTS: list[tuple[str, str, list[str], str]] = [
    ("quiet splash", "ttm.pages_limit", ["ttm.pages_limit=2"], "quiet splash ttm.pages_limit=2"),
    ("a ttm.pages_limit=1 b", "ttm.pages_limit", ["ttm.pages_limit=2"], "a ttm.pages_limit=2 b"),
    ("ttm.pages_limit=1 b ttm.pages_limit=3", "ttm.pages_limit", ["ttm.pages_limit=2"], "ttm.pages_limit=2 b"),
    ("ttm.pages-limit=1", "ttm.pages_limit", ["ttm.pages_limit=2"], "ttm.pages_limit=2"),
    # A longer name, the same text in another's value and in quotes are not the key.
    ("xttm.pages_limit=1 ttm.pages_limit2=5", "ttm.pages_limit", [], "xttm.pages_limit=1 ttm.pages_limit2=5"),
    ('x="a ttm.pages_limit=1 b" c', "ttm.pages_limit", [], 'x="a ttm.pages_limit=1 b" c'),
    ('dyndbg="file a.c +p" quiet', "dyndbg", ['dyndbg="x y"'], 'dyndbg="x y" quiet'),
    ("quiet", "quiet", [], ""),
    ("", "amd_iommu", ["amd_iommu=off"], "amd_iommu=off"),
]


@pytest.mark.parametrize(("line", "key", "fresh", "expected"), REPLACEMENTS)
def test_words_are_replaced_by_key(line: str, key: str, fresh: list[str], expected: str) -> None:
    assert " ".join(words.replace(words.split(line), key, fresh)) == expected


@given(st.text(alphabet='ab=."- \t', max_size=40))
def test_any_line_is_split_and_joined_to_the_same_words(line: str) -> None:
    found = words.split(line)
    assert words.split(" ".join(found)) == found


BAD: list[tuple[Param, str]] = [
    (Param("ttm pages_limit", "1"), "no name"),
    (Param('ttm."x', "1"), "no name"),
    (Param("ttm.pages_limit=5", "1"), "no name"),
    (Param("", "1"), "no name"),
    (Param("a", "1\n2"), "one line"),
    (Param("a", '1"'), "one line"),
    (Param("a", "$(reboot)"), "one line"),
    (Param("a", "`reboot`"), "one line"),
    (Param("a", ""), "not empty"),
    (Param("amd_iommu", "False"), "which YAML made"),
    (Param("a", "1", "gone"), "Allowed"),
]


@pytest.mark.parametrize(("param", "message"), BAD)
def test_bad_parameters_are_refused(param: Param, message: str) -> None:
    with pytest.raises(KernelParamsError, match=message):
        words.check(param)


def test_modprobe_text_is_read_back_as_it_was_written() -> None:
    params = [Param("ttm.pages_limit", "5"), Param("amdgpu.x", "a b"), Param("ttm.flag"), Param("ttm.a", "1")]
    text = modprobe.render(params)
    assert text.splitlines()[1:] == ['options amdgpu x="a b"', "options ttm a=1 flag pages_limit=5"]
    assert {param.key: param.value for _line, param in modprobe.parse(text)} == {p.key: p.value for p in params}
    assert modprobe.render([]) == ""


def test_options_of_other_files_are_read_as_kmod_does(tmp_path: Path) -> None:
    files = {
        "etc/modprobe.d/b.conf": "# options ttm pages_limit=0\noptions ttm \\\n  pages_limit=2\nblacklist x\n",
        "etc/modprobe.d/a.conf": "options amd-ttm pages_limit=3\n",
        "usr/lib/modprobe.d/a.conf": "options ttm hidden=1\n",
        "etc/modprobe.d/zz-lamplighter.conf": "options ttm pages_limit=9\n",
        "etc/modprobe.d/note.txt": "options ttm pages_limit=8\n",
        "etc/modprobe.d/broken.conf": 'options ttm pages_limit="\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    host = Host(Sysroot(str(tmp_path)), lambda _name: None, lambda _argv: (0, "", ""))
    found = [(path, line, param.key, param.value) for path, line, param in modprobe.foreign(host)]
    assert found == [
        ("/etc/modprobe.d/a.conf", 1, "amd_ttm.pages_limit", "3"),
        ("/etc/modprobe.d/b.conf", 2, "ttm.pages_limit", "2"),
    ]


@pytest.mark.parametrize(
    ("module", "expected"), [("ttm", True), ("amd_ttm", True), ("drm", False), ("amdttm", None), ("tt", None)]
)
def test_modules_are_loadable_built_in_or_unknown(tmp_path: Path, module: str, expected: bool | None) -> None:
    folder = tmp_path / "lib/modules/6.12"
    folder.mkdir(parents=True)
    (folder / "modules.dep").write_text("kernel/drivers/gpu/drm/ttm/ttm.ko.xz: kernel/a.ko\nupdates/dkms/amd-ttm.ko:\n")
    (folder / "modules.builtin").write_text("kernel/drivers/gpu/drm/drm.ko\n")
    assert modprobe.is_loadable(Sysroot(str(tmp_path)), "6.12", module) is expected


# What /etc/default/grub had, what is wanted, what grub-mkconfig then sees.
DROP_INS: list[tuple[str, dict[str, list[str]], str]] = [
    ("quiet splash", {"a.b_c": ["a.b_c=1"]}, "quiet splash a.b_c=1"),
    ("a.b_c=3 quiet a.b-c=4 a.b_c=5", {"a.b_c": ["a.b_c=1"]}, "quiet a.b_c=1"),
    ("aXb_c=3 a.b_cd=4", {"a.b_c": []}, "aXb_c=3 a.b_cd=4"),
    ("amdgpu.gttsize=98304 quiet", {"amdgpu.gttsize": [], "x": ["x"]}, "quiet x"),
    ('dyndbg=\\"file a +p\\" quiet', {"x": ['x="1 2"']}, 'dyndbg="file a +p" quiet x="1 2"'),
    ('x=\\"1 2\\" quiet', {"x": []}, "quiet"),
]


@pytest.mark.parametrize(("before", "wanted", "after"), DROP_INS)
def test_the_grub_drop_in_replaces_by_key_in_a_real_shell(before: str, wanted: dict, after: str) -> None:
    text = grub.drop_in(wanted)
    script = f'GRUB_CMDLINE_LINUX="{before}"\nGRUB_CMDLINE_LINUX_DEFAULT="{before}"\n{text}'
    script += 'printf \'%s\\n%s\' "$GRUB_CMDLINE_LINUX" "$GRUB_CMDLINE_LINUX_DEFAULT"'
    plain, default = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split("\n")
    assert words.split(default) == words.split(after)
    assert not any(key in map(words.key_of, words.split(plain)) for key in wanted)


def test_no_drop_in_is_needed_for_nothing() -> None:
    assert grub.drop_in({}) is None


SETTINGS: list[tuple[str, str]] = [
    ('GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n', 'GRUB_CMDLINE_LINUX_DEFAULT="quiet a=1"\n'),
    ("GRUB_CMDLINE_LINUX_DEFAULT='a=0 quiet'\nX=1\n", 'GRUB_CMDLINE_LINUX_DEFAULT="a=1 quiet"\nX=1\n'),
    ("GRUB_CMDLINE_LINUX_DEFAULT=quiet\n", 'GRUB_CMDLINE_LINUX_DEFAULT="quiet a=1"\n'),
    ("# a\nGRUB_TIMEOUT=5\n", '# a\nGRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX_DEFAULT="a=1"\n'),
    (
        'GRUB_CMDLINE_LINUX="a=7 b"\nGRUB_CMDLINE_LINUX_DEFAULT="x=\\"1 2\\""\n',
        'GRUB_CMDLINE_LINUX="b"\nGRUB_CMDLINE_LINUX_DEFAULT="x=\\"1 2\\" a=1"\n',
    ),
]


@pytest.mark.parametrize(("before", "after"), SETTINGS)
def test_grub_settings_are_edited_by_key(before: str, after: str) -> None:
    assert grub.edit_settings(before, {"a": ["a=1"]}) == after


def test_grub_settings_that_are_computed_are_refused() -> None:
    with pytest.raises(KernelParamsError, match="computed by shell"):
        grub.edit_settings('GRUB_CMDLINE_LINUX_DEFAULT="$(cat /etc/args)"\n', {"a": ["a=1"]})


def test_recovery_entries_are_no_concern_of_ours() -> None:
    text = "\tlinux\t/vmlinuz root=x ro quiet a=1\n\t\tlinux /vmlinuz root=x ro single dis_ucode_ldr\n"
    assert grub.linux_lines(text) == [["root=x", "ro", "quiet", "a=1"]]


def section(name: str, text: str) -> str:
    return f"### BEGIN /etc/grub.d/{name} ###\n{text}### END /etc/grub.d/{name} ###\n\n"


# What a grub.cfg holds, and the words of each entry that is made from the settings.
ENTRIES: list[tuple[str, list[list[str]]]] = [
    ("\tlinux\t/vmlinuz-6.12.1 root=x a=1\n", [["root=x", "a=1"]]),
    ("\tlinuxefi /boot/kernel-6.12.1-gentoo root=x a=1\n", [["root=x", "a=1"]]),
    ("\tlinux16 /@/boot/vmlinuz-linux a=1\n", [["a=1"]]),
    ("\tlinux\t/boot/vmlinuz\n}\nmenuentry b {\n\tlinux /boot/vmlinuz-2  \n}\n", [[], []]),
    ("\tlinux /boot/memtest86+x64.efi\n}\n\tlinux16 /boot/mt86+x64 console=ttyS0\n", []),
    (section("10_linux", "\tlinux /vmlinuz a=1\n") + section("30_os-prober", "\tlinux /boot/vmlinuz b=1\n"), [["a=1"]]),
    (section("40_custom", "\tlinux /vmlinuz b=1\n") + section("10_linux_zfs", "\tlinux /vmlinuz a=1\n"), [["a=1"]]),
    (section("20_ipxe", "\tlinux16 /boot/ipxe.lkrn\n") + section("11_linux_proxy", "\tlinux /Image a=1\n"), [["a=1"]]),
    (section("20_linux_xen", "\tmultiboot2 /xen.gz placeholder\n\tmodule2 /vmlinuz placeholder a=1\n"), []),
    (section("40_custom", "\tlinux /vmlinuz b=1\n"), []),
    # A custom file whose last line does not end.
    (section("40_custom", "\tlinux /vmlinuz b=1\n}"), []),
]


@pytest.mark.parametrize(("text", "expected"), ENTRIES)
def test_only_entries_made_from_the_settings_count(text: str, expected: list[list[str]]) -> None:
    assert grub.linux_lines(text) == expected


@pytest.mark.parametrize(
    ("ram", "vram", "expected"),
    [(125, 0.5, 109), (16, 0, 8), (15, 0, 7), (6, 0, 0), (60, 4, 52), (512, 0, 448), (64, 64, 48)],
)
def test_the_system_keeps_its_reserve(ram: float, vram: float, expected: int) -> None:
    assert memory.affordable(int(ram * GIB), int(vram * GIB)) == expected * GIB


def test_sizes_are_counted_in_the_pages_of_the_host() -> None:
    assert memory.pages(100, 128 * GIB, 4096) == (26214400, [])
    assert memory.pages(100, 128 * GIB, 65536) == (1638400, [])
    assert memory.pages(0.5, 128 * GIB, 4096) == (131072, [])


@pytest.mark.parametrize("size", [0, -5, float("nan"), float("inf")])
def test_what_is_no_size_is_refused(size: float) -> None:
    with pytest.raises(KernelParamsError, match="above 0"):
        memory.pages(size, 128 * GIB, 4096)


def test_more_than_the_ram_is_refused_and_nearly_all_of_it_warned_about() -> None:
    with pytest.raises(KernelParamsError, match=r"64\.0 GiB of RAM.*advised: 56"):
        memory.pages(65, 64 * GIB, 4096)
    assert memory.pages(60, 64 * GIB, 4096)[1]
    assert not memory.pages(57, 64 * GIB, 4096)[1]


def test_the_table_in_the_docs_is_what_the_code_computes() -> None:
    document = (Path(__file__).parents[5] / "docs/memory.md").read_text()
    assert memory.markdown() in document
