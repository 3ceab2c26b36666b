//go:build unix

package wire

import (
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
