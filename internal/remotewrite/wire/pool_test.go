package wire

import (
	"testing"
)

// kept is how much memory idle encoders hold.
func (p *Pool) kept() (bytes int) {
	for _, e := range p.idle {
		bytes += e.kept()
	}
	return bytes
}

func TestEncodersShrink(t *testing.T) {
	const huge = 8 << 20
	var pool Pool
	send := func(m Message, p Protocol) {
		t.Helper()
		body, _, err := pool.Body(m, p, true)
		if err != nil {
			t.Fatal(err)
		}
		pool.Release(body)
	}
	usual := sidecarMessages(t, 1, 500)[0]
	grown := &v1Writer{}
	grown.out = make([]byte, huge)
	pool.put(grown, huge)
	if n := pool.kept(); n < huge {
		t.Errorf("kept while requests are huge: %d bytes, want room for one", n)
	}
	for range 100 {
		send(usual, V1)
		send(usual, V2)
	}
	if n := pool.kept(); n == 0 || n > keptEncoder {
		t.Errorf("kept after the burst: %d bytes, want some, at most %d", n, keptEncoder)
	}
}

func TestEncodersKeepFew(t *testing.T) {
	var p Pool
	var out []*v1Writer
	for range 10 {
		out = append(out, p.get())
	}
	for _, e := range out {
		p.put(e, 1)
	}
	if len(p.idle) != keptEncoders {
		t.Errorf("idle encoders = %d, want %d", len(p.idle), keptEncoders)
	}
}

// TestRequestsCostAHandfulOfAllocations counts what a request of 2,000 samples needs once the first ones are out.
func TestRequestsCostAHandfulOfAllocations(t *testing.T) {
	ms := sidecarMessages(t, 4, 2000)
	var pool Pool
	for _, p := range []Protocol{V1, V2} {
		i := 0
		n := testing.AllocsPerRun(40, func() {
			body, _, err := pool.Body(ms[i%len(ms)], p, true)
			if err != nil {
				t.Fatal(err)
			}
			pool.Release(body)
			i++
		})
		if n > 3 {
			t.Errorf("%s: allocations a request = %v, want at most 3", p, n)
		}
	}
	if n := pool.kept(); n > 400<<10 {
		t.Errorf("kept for both protocols: %d bytes, want at most 400 KiB", n)
	}
	t.Logf("kept for both protocols: %d bytes", pool.kept())
}

func TestBodiesOf20AreMadeInTheirOwnMemory(t *testing.T) {
	var pool Pool
	m := sidecarMessages(t, 1, 500)[0]
	first, _, err := pool.Body(m, V2, true)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := pool.Body(m, V2, true)
	if err != nil || string(first) != string(second) || &first[0] == &second[0] {
		t.Errorf("error %v, or the second body is not as the first, or in its memory", err)
	}
	if n := pool.kept(); n != 0 {
		t.Errorf("%d bytes are kept beside the bodies", n)
	}
}
