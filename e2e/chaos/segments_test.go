package chaos

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"

	"github.com/golang/snappy"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

const (
	bulk           = "chaos_bulk" // metric name in a generated backlog
	bulkSeries     = 2000         // per request
	segmentBytes   = 16 << 20
	bulkGeneration = 1
	firstBulk      = 0x1000 // first segment number, higher than those that the real process used
)

// makeBacklog writes about the given number of bytes of requests into the queue of a stopped agent and returns how many
// samples they hold. docs/queue-format.md describes the files.
func makeBacklog(w *world, bytes int) (samples int) {
	w.Helper()
	queues, err := filepath.Glob(filepath.Join(w.storage, "q-*"))
	if err != nil || len(queues) != 1 {
		w.Fatalf("queues in %s: %v, %v; want one queue", w.storage, queues, err)
	}
	request := bulkRequest()
	at := time.Now().Add(-time.Duration(bytes/(4*bulkSeries)+60) * time.Second).UnixMilli()
	for seq, left := firstBulk, bytes; left > 0; seq++ {
		for lane := range lanes {
			name := fmt.Sprintf("%08x-%04x-%04x-%08x.seg", bulkGeneration, lanes, lane, seq)
			var file []byte
			before := 0
			for len(file) < min(segmentBytes, left/lanes+1) {
				at += 1000
				file = append(file, record(request(lane, at), before, at)...)
				before += bulkSeries
			}
			if err := os.WriteFile(filepath.Join(queues[0], name), file, 0o600); err != nil {
				w.Fatal(err)
			}
			samples += before
		}
		left -= lanes * segmentBytes
	}
	return samples
}

// bulkRequest returns a function that builds the next request of a lane. Every request has the same series.
func bulkRequest() func(lane int, at int64) []byte {
	var requests [lanes]writev2.Request
	for lane := range requests {
		symbols := []string{
			"", "__name__", bulk, "cluster_name", "instance", fmt.Sprintf("127.0.0.1:%d", lane), "job", "bulk",
			"namespace", "default", "pod", "bulk-7c9f8d6b5-x2x4z",
		}
		r := &requests[lane]
		for i := range bulkSeries {
			name := uint32(len(symbols))
			symbols = append(symbols, fmt.Sprintf("outbound|8080||bulk-%d.mesh.svc.cluster.local", i))
			r.Timeseries = append(r.Timeseries, writev2.TimeSeries{
				LabelsRefs: []uint32{1, 2, 3, name, 4, 5, 6, 7, 8, 9, 10, 11}, Samples: make([]writev2.Sample, 1),
			})
		}
		r.Symbols = symbols
	}
	return func(lane int, at int64) []byte {
		r := &requests[lane]
		for i := range r.Timeseries {
			r.Timeseries[i].Samples[0] = writev2.Sample{Value: float64(at%100_000 + int64(i)), Timestamp: at}
		}
		return packed(&writev2.Request{Symbols: r.Symbols}, &writev2.Request{Timeseries: r.Timeseries})
	}
}

// packed returns the data of a record: the length of the first block, then the symbols and the series of the request,
// each as a snappy block.
func packed(symbols, series *writev2.Request) []byte {
	var blocks [2][]byte
	for i, r := range []*writev2.Request{symbols, series} {
		data, err := r.Marshal()
		if err != nil {
			panic(err) // cannot fail: the message was built here
		}
		blocks[i] = snappy.Encode(nil, data)
	}
	return append(append(binary.AppendUvarint(nil, uint64(len(blocks[0]))), blocks[0]...), blocks[1]...)
}

// record returns one record that begins a request.
func record(data []byte, before int, at int64) []byte {
	const headerSize = 48
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	b := make([]byte, headerSize, headerSize+len(data))
	le := binary.LittleEndian
	copy(b, "EsqR")
	b[4], b[5] = 1, 1 // version; begins a request
	le.PutUint32(b[8:], uint32(len(data)))
	le.PutUint32(b[12:], crc32.Checksum(data, castagnoli))
	le.PutUint64(b[16:], uint64(before))
	le.PutUint64(b[24:], uint64(at))
	le.PutUint64(b[32:], uint64(at))
	le.PutUint32(b[40:], bulkSeries)
	le.PutUint32(b[44:], crc32.Checksum(b[:44], castagnoli))
	return append(b, data...)
}
