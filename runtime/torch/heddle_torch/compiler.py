"""A variant and a device's compute capability in; machine code out: the cubin that lies beside the manifest, else NVRTC's."""

from __future__ import annotations

import hashlib
import re
from typing import Any, List, Mapping, Optional, Tuple

from .artifact import Artifact
from .cache import Cache
from .errors import HeddleError
from .nvrtc import Nvrtc, NvrtcFailed, NvrtcMissing, nvrtc

LOG_LINES = 40


def runs_on(arch: str, capability: int) -> bool:
    """Whether a cubin runs on a device: within a major version upwards, but exactly where the arch has a suffix."""
    found = re.fullmatch(r"sm_(\d+)([a-z]?)", arch)
    if found is None:
        return False
    built = int(found[1])
    return built == capability if found[2] else built // 10 == capability // 10 and built <= capability


def cubin_beside(artifact: Artifact, variant: Mapping[str, Any], capability: int) -> Tuple[Optional[bytes], str]:
    """The best cubin for a device, or None; and what was wrong with one that would have fitted."""
    fitting = sorted((c for c in variant["cubins"] if runs_on(c["arch"], capability)), key=lambda c: c["arch"], reverse=True)
    trouble = ""
    for c in fitting:
        path = artifact.folder / c["file"]
        try:
            data = path.read_bytes()
        except OSError as e:
            trouble = trouble or f"{path}: {e.strerror or e}"
            continue
        if hashlib.sha256(data).hexdigest() == c["sha256"]:
            return data, ""
        trouble = trouble or f"{path}: its SHA-256 is not the manifest's"
    return None, trouble


def target_of(library: Nvrtc, capability: int, suffix: str) -> Tuple[str, bool]:
    """NVRTC's architecture and whether PTX is made: for a device newer than the compiler, of the newest it knows."""
    known = library.architectures()
    if capability in known or suffix:
        return f"sm_{capability}{suffix}", False
    older = [a for a in known if a <= capability]
    return (f"compute_{older[-1]}", True) if older else (f"sm_{capability}", False)


def options_of(arch: str) -> Tuple[str, ...]:
    return (f"--gpu-architecture={arch}", "--std=c++17")


def with_source_lines(log: str, text: str, name: str) -> str:
    """The compiler's log, each message that names a line of the text followed by that line."""
    lines = text.splitlines()
    messages = log.splitlines()
    out: List[str] = []
    for i, message in enumerate(messages):
        out.append(message)
        found = re.match(re.escape(name) + r"\((\d+)\)", message)
        if not found or not 0 < int(found[1]) <= len(lines):
            continue
        line = lines[int(found[1]) - 1].strip()
        # Most versions quote it themselves.
        if i + 1 == len(messages) or messages[i + 1].strip() != line:
            out.append(f"    {line}")
    cut = len(out) - LOG_LINES
    return "\n".join(out[:LOG_LINES] + ([f"    .. {cut} more lines"] if cut > 0 else []))


def compile_text(
    artifact: Artifact, variant: Mapping[str, Any], capability: int, cache: Cache, text: str, trouble: str = ""
) -> bytes:
    arch = f"sm_{capability}{variant['suffix']}"
    about = {"pattern": artifact.pattern, "variant": variant["id"], "arch": arch}
    try:
        library = nvrtc()
    except NvrtcMissing as e:
        cubins = [c["arch"] for c in variant["cubins"]]
        detail = f"{e}{f' ({trouble})' if trouble else ''}"
        raise HeddleError("no-nvrtc", **about, cubins=cubins, detail=detail) from e
    target, ptx = target_of(library, capability, variant["suffix"])
    options = options_of(target)
    digest = hashlib.sha256(text.encode()).hexdigest()
    key = hashlib.sha256("\n".join((digest, *options, str(library.version), str(ptx))).encode()).hexdigest()
    found = cache.read(key)
    if found is not None:
        return found
    with cache.lock(key):
        found = cache.read(key)
        if found is not None:
            return found
        name = f"{artifact.pattern}.{variant['id']}.cu"
        try:
            made = library.compile(text, name, options, ptx)
        except NvrtcFailed as e:
            log = with_source_lines(e.log, text, name)
            raise HeddleError("nvrtc", **about, status=e.status, log=log) from e
        cache.write(key, made)
        return made


def debug_text(text: str) -> str:
    """The same kernel with its checks on."""
    return re.sub(r"constexpr bool DEBUG = false;", "constexpr bool DEBUG = true;", text, count=1)


def machine_code(
    artifact: Artifact,
    variant: Mapping[str, Any],
    capability: int,
    cache: Optional[Cache] = None,
    debug: bool = False,
) -> bytes:
    cache = cache or Cache()
    if debug:
        return compile_text(artifact, variant, capability, cache, debug_text(variant["code"]))
    data, trouble = cubin_beside(artifact, variant, capability)
    return data if data is not None else compile_text(artifact, variant, capability, cache, variant["code"], trouble)
