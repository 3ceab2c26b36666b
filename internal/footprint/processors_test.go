package footprint

import "testing"

func TestOneProcessorIsEnoughAfterThreeLowLoads(t *testing.T) {
	var p oneProcessor
	for i, step := range []struct {
		load   float64
		enough bool
	}{
		{0.9, false}, {0.1, false}, {0.1, false}, {0.5, false}, // not three in a row
		{0.1, false}, {0.1, false}, {0.1, true}, {0.1, true},
		{0.5, true}, {0.61, false}, // high load
		{0.29, false}, {0.29, false}, {0.29, true},
	} {
		if p.observe(step.load); p.enough != step.enough {
			t.Errorf("step %d, load %v: enough is %v, want %v", i, step.load, p.enough, step.enough)
		}
	}
}
