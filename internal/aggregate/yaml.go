package aggregate

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// written is a block as a configuration has it, without what is the default.
type written struct {
	Jobs       []string          `yaml:"jobs,flow"`
	Match      string            `yaml:"match"`
	Without    []string          `yaml:"without,flow,omitempty"`
	By         *[]string         `yaml:"by,flow,omitempty"` // may be empty: aggregates have no label of their sources
	As         map[string]string `yaml:"as"`
	Prefix     string            `yaml:"prefix,omitempty"`
	Gauges     Gauges            `yaml:"gauges,omitempty"`
	KeepRaw    bool              `yaml:"keep_raw,omitempty"`
	CountFirst *bool             `yaml:"count_first,omitempty"`
	Idle       string            `yaml:"idle,omitempty"`
}

// Pattern returns Match as it is written in a configuration, without its anchors.
func (b *Block) Pattern() string {
	text := b.Match.String()
	for _, start := range []string{"^(?s:", "^(?:"} {
		if inner, ok := strings.CutPrefix(text, start); ok {
			return strings.TrimSuffix(inner, ")$")
		}
	}
	return text
}

// YAML returns the part of a configuration that has these blocks.
func YAML(blocks ...Block) string {
	list := make([]written, len(blocks))
	for i := range blocks {
		list[i] = blocks[i].written()
	}
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	if err := enc.Encode(map[string]map[string][]written{"envoy_scraper": {"aggregate": list}}); err != nil {
		return fmt.Sprintf("# %v", err)
	}
	return text.String()
}

func (b *Block) written() written {
	w := written{Jobs: b.Jobs, Match: b.Pattern(), Without: b.Without, As: b.As.Map(), Prefix: b.Prefix,
		KeepRaw: b.KeepRaw}
	if b.By != nil {
		w.By = &b.By
	}
	if b.Gauges != GaugesRaw {
		w.Gauges = b.Gauges
	}
	if b.SkipFirst {
		w.CountFirst = new(bool)
	}
	if b.Idle > 0 {
		w.Idle = model.Duration(b.Idle).String()
	}
	return w
}
