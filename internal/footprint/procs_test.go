package footprint

import "testing"

func TestOneProcessorWhileOneIsEnough(t *testing.T) {
	p := procs{many: true}
	for i, step := range []struct {
		load float64
		many bool
	}{
		{0.9, true}, {0.1, true}, {0.1, true}, {0.5, true}, // the calm was too short
		{0.1, true}, {0.1, true}, {0.1, false}, {0.1, false},
		{0.5, false}, {0.61, true}, // one is hardly enough any more
		{0.29, true}, {0.29, true}, {0.29, false},
	} {
		before := p.many
		if changed := p.decide(step.load); p.many != step.many || changed != (before != step.many) {
			t.Errorf("step %d, load %v: many %v, changed %v; want %v", i, step.load, p.many, changed, step.many)
		}
	}
}
