//go:build unix

package wire

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
)

// benchShapes are requests of 2,000 samples: of one sidecar each, and of four.
var benchShapes = map[string][2]int{"1 target": {8, 2000}, "4 targets": {32, 500}}

// BenchmarkRequest makes compressed requests of fragments. To be held against `2.0 request 50-100 ns` and `snappy
// 53` together in 2.0, `1.0 from references perhaps 200` and `snappy 224` in 1.0.
func BenchmarkRequest(b *testing.B) {
	for _, p := range []Protocol{V2, V1} {
		for name, shape := range benchShapes {
			b.Run(fmt.Sprint(p, " ", name), func(b *testing.B) {
				ms := sidecarMessages(b, shape[0], shape[1])
				var pool Pool
				var i, samples, bytes int
				b.ReportAllocs()
				report := cpuPerSample(b, ms[0].Samples)
				for b.Loop() {
					m := ms[i%len(ms)]
					i++
					body, _, err := pool.Body(m, p, true)
					if err != nil {
						b.Fatal(err)
					}
					samples += m.Samples
					bytes += len(body)
					pool.Release(body)
				}
				report()
				b.ReportMetric(float64(bytes)/float64(samples), "wire-B/sample")
			})
		}
	}
}

// BenchmarkSearch is what a search for repetitions costs in the plain text of the same requests, which in 1.0 would
// have to be written first.
func BenchmarkSearch(b *testing.B) {
	for _, p := range []Protocol{V2, V1} {
		for library, encode := range map[string]func(dst, src []byte) []byte{
			"golang":    func(dst, src []byte) []byte { return snappy.Encode(dst[:cap(dst)], src) },
			"s2":        s2.EncodeSnappy,
			"s2 better": s2.EncodeSnappyBetter,
		} {
			for name, shape := range benchShapes {
				b.Run(fmt.Sprint(p, " ", name, " ", library), func(b *testing.B) {
					var plains [][]byte
					for _, m := range sidecarMessages(b, shape[0], shape[1]) {
						plain, err := plainV2(m)
						if p == V1 {
							plain, _, err = plainV1(m, true)
						}
						if err != nil {
							b.Fatal(err)
						}
						plains = append(plains, plain)
					}
					const samples = 2000
					var dst []byte
					i, bytes := 0, 0
					report := cpuPerSample(b, samples)
					for b.Loop() {
						dst = encode(dst, plains[i%len(plains)])
						i++
						bytes += len(dst)
					}
					report()
					b.ReportMetric(float64(bytes)/float64(b.N)/samples, "wire-B/sample")
				})
			}
		}
	}
}

// cpuPerSample reports processor time, which a busy machine does not falsify as it does the time on the wall.
// Call it before the loop and the result after.
func cpuPerSample(b *testing.B, samples int) (report func()) {
	began := processorNanos(b)
	return func() {
		b.ReportMetric(float64(processorNanos(b)-began)/float64(b.N)/float64(samples), "cpu-ns/sample")
	}
}

func processorNanos(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// plainRequest makes a 1.0 request the obvious way: the whole text first, then a search for repetitions.
type plainRequest struct {
	fragments unpacker
	symbols   [][]byte
	text      []byte
}

// labelSize is the size of what is in a Label.
func (p *plainRequest) labelSize(name, value uint64) int {
	n, v := len(p.symbols[name]), len(p.symbols[value])
	return 2 + uvarintSize(uint64(n)) + n + uvarintSize(uint64(v)) + v
}

// render returns the text of a message whose series have a sample each, and nothing else.
func (p *plainRequest) render(m Message) []byte {
	fragments, err := p.fragments.unpack(m.Fragments)
	if err != nil {
		panic(err)
	}
	p.symbols, p.text = p.symbols[:0], p.text[:0]
	for _, f := range fragments {
		for s := f.symbols; len(s) > 0; {
			var text []byte
			text, s, _ = cutBytes(s[1:])
			p.symbols = append(p.symbols, text)
		}
	}
	for _, f := range fragments {
		for s := f.series; len(s) > 0; {
			var body []byte
			body, s, _ = cutBytes(s[1:])
			p.series(body)
		}
	}
	return p.text
}

func (p *plainRequest) series(body []byte) {
	refs, sample, more, ok := cutPlainSeries(body, nil)
	if !ok || len(more) > 0 {
		panic("a series with more than a sample")
	}
	size := sample.size()
	for rest := refs; len(rest) > 0; {
		var name, value uint64
		name, value, rest, _ = cutRefs(rest)
		inner := p.labelSize(name, value)
		size += 1 + uvarintSize(uint64(inner)) + inner
	}
	out := appendUvarint(append(p.text, tagSeriesV1), uint64(size))
	for rest := refs; len(rest) > 0; {
		var name, value uint64
		name, value, rest, _ = cutRefs(rest)
		out = appendUvarint(append(out, tagLabelV1), uint64(p.labelSize(name, value)))
		out = appendBytesField(appendBytesField(out, tagLabelNameV1, p.symbols[name]), tagLabelValueV1,
			p.symbols[value])
	}
	out = append(out, tagSampleV1, byte(sample.head>>8))
	if sample.valued() {
		out = binary.LittleEndian.AppendUint64(append(out, tagSampleValue), sample.value)
	}
	p.text = append(out, binary.LittleEndian.AppendUint64(nil, sample.time.word)[:sample.time.n]...)
}

// BenchmarkPlainRequest is what 1.0 would cost without v1Writer. Decision 0027 compares it with BenchmarkRequest.
func BenchmarkPlainRequest(b *testing.B) {
	for name, shape := range benchShapes {
		b.Run(name, func(b *testing.B) {
			ms := sidecarMessages(b, shape[0], shape[1])
			var p plainRequest
			var out []byte
			i := 0
			b.ReportAllocs()
			report := cpuPerSample(b, ms[0].Samples)
			for b.Loop() {
				out = snappy.Encode(out[:cap(out)], p.render(ms[i%len(ms)]))
				i++
			}
			report()
			b.ReportMetric(float64(cap(p.text)), "text-B")
		})
	}
}

func TestPlainRequestsAreWhatTheReferenceWrites(t *testing.T) {
	var p plainRequest
	for _, m := range sidecarMessages(t, 4, 2000) {
		want, _, err := plainV1(m, true)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.render(m); string(got) != string(want) {
			t.Fatalf("differs at byte %d of %d", differAt(got, want), len(want))
		}
	}
}
