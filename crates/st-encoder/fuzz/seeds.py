"""Fills fuzz/corpus with seeds: small checkpoints, indices and configurations, good and hostile."""

import io
import json
import pathlib
import pickle
import struct
import zipfile

FUZZ = pathlib.Path(__file__).parent
FIXTURES = FUZZ.parents[2] / "fixtures" / "models"
ARCHITECTURES = FUZZ.parent / "fixtures" / "architectures"


def write(target, name, content):
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def safetensors(header, data=b"\0" * 16):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, end, start=0, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


class Call:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def state_dictionary(call, storage=b"ctorch\nFloatStorage\n", elements=16, shape=(2, 3), strides=(3, 1)):
    numbers = lambda values: b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"
    persistent = b"(" + text("storage") + storage + text("0") + text("cpu") + b"J" + struct.pack("<i", elements) + b"tQ"
    tensor = call + b"(" + persistent + b"K\x01" + numbers(shape) + numbers(strides) + b"\x89N" + b"tR"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + text("w") + tensor + b"u."


def main():
    for folder in sorted((FIXTURES.parent / "adapters").glob("bert-*")):
        weights = folder / "adapter_model.safetensors"
        if weights.is_file():
            config = (folder / "adapter_config.json").read_bytes()
            write("adapter", folder.name, config + b"\0" + weights.read_bytes())

    write("safetensors", "good", safetensors({"w": entry([2, 2], 16)}))
    write("safetensors", "half", safetensors({"a": entry([4], 8, dtype="F16"), "b": entry([4], 16, 8, "BF16")}))
    write("safetensors", "integers", safetensors({"ids": entry([2], 16, dtype="I64")}))
    write("safetensors", "scalar", safetensors({"__metadata__": {"format": "pt"}, "w": entry([], 4)}, b"\0" * 4))
    write("safetensors", "empty", safetensors({"w": entry([0, 7], 0)}, b""))
    write("safetensors", "huge", safetensors({"w": entry([1 << 62, 4], 16)}))
    write("safetensors", "pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")

    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n"
    good = state_dictionary(tensor)
    write("bin", "pickle", good)
    write("bin", "transposed", state_dictionary(tensor, shape=(3, 2), strides=(1, 3)))
    write("bin", "outside", state_dictionary(tensor, shape=(9, 9)))
    write("bin", "halves", state_dictionary(tensor, b"ctorch\nBFloat16Storage\n"))
    write("bin", "call", pickle.dumps(Call(print, "no"), 4))
    for protocol in range(2, 6):
        write("bin", f"values-{protocol}", pickle.dumps({"a": [1, 2**70, -1, 0.5, None, True, (1, (2,)), b"x"]}, protocol))
    for compression, name in ((zipfile.ZIP_STORED, "zip"), (zipfile.ZIP_DEFLATED, "zip-compressed")):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", compression) as file:
            file.writestr("m/data.pkl", good)
            file.writestr("m/byteorder", "little")
            file.writestr("m/data/0", b"\0" * 64)
        write("bin", name, archive.getvalue())
    legacy = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    write("bin", "legacy", legacy + good + pickle.dumps(["0"], 2) + struct.pack("<Q", 16) + b"\0" * 64)

    for number, file in enumerate(["a.safetensors", "../a.safetensors", "/a", "b.bin", ""]):
        write("index", str(number), json.dumps({"metadata": {}, "weight_map": {"w": file, "v": "a.safetensors"}}).encode())
    for path in FIXTURES.glob("*/*.index.json"):
        write("index", path.parent.name, path.read_bytes())

    for path in sorted(ARCHITECTURES.glob("*.json")):
        write("config", path.stem, json.dumps(json.loads(path.read_text())["config"]).encode())


if __name__ == "__main__":
    main()
