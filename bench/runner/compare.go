package runner

// Names of the two figures that rows are compared in.
const (
	keyCPU = "cpu_seconds_per_million_samples"
	keyRSS = "rss_bytes"
)

// Best is the least that any of the peers needs of something.
type Best struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Comparison holds the best peer for each figure: different peers are best in
// different figures. It is empty if the run has no peers.
type Comparison struct {
	Default map[string]Best `json:"best_default"` // among those with their default settings
	Any     map[string]Best `json:"best_any"`
	// Ratios are the other rows' figures by those of the best peers: row, then figure.
	VersusDefault map[string]map[string]float64 `json:"versus_best_default,omitempty"`
	VersusAny     map[string]map[string]float64 `json:"versus_best_any,omitempty"`
}

func compare(rows []Row) Comparison {
	c := Comparison{Default: map[string]Best{}, Any: map[string]Best{}}
	for _, f := range figures() {
		if f.key == "" {
			continue
		}
		for _, row := range rows {
			if !row.Peer {
				continue
			}
			b := Best{Name: row.Name, Value: f.value(row)}
			keepBest(c.Any, f.key, b)
			if !row.Tuned {
				keepBest(c.Default, f.key, b)
			}
		}
	}
	c.VersusDefault, c.VersusAny = versus(rows, c.Default), versus(rows, c.Any)
	return c
}

// keepBest ignores 0: the figure could not be measured.
func keepBest(best map[string]Best, key string, b Best) {
	if old, ok := best[key]; b.Value > 0 && (!ok || b.Value < old.Value) {
		best[key] = b
	}
}

func versus(rows []Row, best map[string]Best) map[string]map[string]float64 {
	out := map[string]map[string]float64{}
	for _, f := range figures() {
		b, ok := best[f.key]
		if !ok {
			continue
		}
		for _, row := range rows {
			if row.Peer {
				continue
			}
			if out[row.Name] == nil {
				out[row.Name] = map[string]float64{}
			}
			out[row.Name][f.key] = ratio(f.value(row), b.Value)
		}
	}
	return out
}
