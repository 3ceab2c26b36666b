package blocks

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// A chunk file begins with a header. Each chunk is its length, one byte for its encoding, its data and a checksum.
const (
	headerBytes   = 8
	checksumBytes = 4
)

// readChunks adds up the chunks of all blocks in a folder: chunks of rising series and chunks of constant series. Other
// chunks, such as those of scrape durations, count in neither.
func readChunks(t *testing.T, folder string) (rising, constant chunkStats) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*", "chunks", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("chunk files in %s: %q, %v", folder, files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for data = data[headerBytes:]; len(data) > 0; {
			length, n := binary.Uvarint(data)
			if n <= 0 || len(data) < n+1+int(length)+checksumBytes {
				t.Fatalf("%s: a chunk is truncated", file)
			}
			chunk, err := chunkenc.FromData(chunkenc.Encoding(data[n]), data[n+1:n+1+int(length)])
			if err != nil {
				t.Fatal(err)
			}
			size := n + 1 + int(length) + checksumBytes
			count(chunk, size, &rising, &constant)
			data = data[size:]
		}
	}
	return rising, constant
}

func count(chunk chunkenc.Chunk, size int, rising, constant *chunkStats) {
	first, last, rises := 0.0, 0.0, true
	it := chunk.Iterator(nil)
	for i := 0; it.Next() == chunkenc.ValFloat; i++ {
		_, v := it.At()
		if i == 0 {
			first = v
		} else {
			rises = rises && v > last
		}
		last = v
	}
	into := rising
	switch {
	case first == last:
		into = constant
	case !rises:
		return
	}
	into.bytes += size
	into.samples += chunk.NumSamples()
}
