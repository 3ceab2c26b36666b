package remotewrite

import (
	"testing"
)

// kept is how much memory idle encoders hold.
func (p *encoders) kept() (bytes int) {
	for _, e := range p.idle {
		bytes += e.size()
	}
	return bytes
}

func TestEncodersShrink(t *testing.T) {
	const huge = 8 << 20
	var pool encoders
	send := func(m message, p protocol) {
		t.Helper()
		body, _, err := pool.body(m, p, true)
		if err != nil {
			t.Fatal(err)
		}
		pool.putBody(body)
	}
	large := message{fragments: [][]byte{appendPacked(nil, nil, noise(huge))}, samples: 1} // 2.0 is not looked into
	usual := sidecarMessages(t, 1, 500)[0]
	for range 3 {
		send(large, v2)
	}
	if n := pool.kept(); n < huge {
		t.Errorf("kept while requests are huge: %d bytes, want room for one", n)
	}
	for range 100 {
		send(usual, v1)
		send(usual, v2)
	}
	if n := pool.kept(); n == 0 || n > keptEncoder {
		t.Errorf("kept after the burst: %d bytes, want some, at most %d", n, keptEncoder)
	}
}

func TestEncodersKeepFew(t *testing.T) {
	var p encoders
	var lent []*requestEncoder
	for range 10 {
		lent = append(lent, p.get())
	}
	for _, e := range lent {
		p.put(e, 1)
	}
	if len(p.idle) != keptEncoders {
		t.Errorf("idle encoders = %d, want %d", len(p.idle), keptEncoders)
	}
}

// TestRequestsCostAHandfulOfAllocations counts what a request of 2,000 samples needs once the first ones are out.
func TestRequestsCostAHandfulOfAllocations(t *testing.T) {
	ms := sidecarMessages(t, 4, 2000)
	var pool encoders
	for _, p := range []protocol{v1, v2} {
		i := 0
		n := testing.AllocsPerRun(40, func() {
			body, _, err := pool.body(ms[i%len(ms)], p, true)
			if err != nil {
				t.Fatal(err)
			}
			pool.putBody(body)
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
