package config

import (
	"github.com/alecthomas/units"
	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// limit is a bound of a page that holds where neither a job nor global has the key; a written 0 is no limit. Whoever may
// create a pod chooses what its page says, so none of them may be missing, and none may be met by a page of a mesh.
type limit struct {
	key string
	set func(*promconfig.ScrapeConfig) // to the default, where the value is 0
}

const (
	defaultBodySizeLimit units.Base2Bytes = 64 << 20
	// A page of body_size_limit bytes has fewer lines, if they are 134 bytes long; most of Envoy's are longer. Each costs up
	// to 400 bytes while a page of nothing but new ones is read.
	defaultSampleLimit = 500_000
	// The names of a mesh have some 30 labels; a pod's own labels and annotations, all of them taken over, some 100 more.
	defaultLabelLimit = 500
	// Receivers take much less: 1,024 and 2,048 are common.
	defaultLabelNameLengthLimit  = 4 << 10
	defaultLabelValueLengthLimit = 64 << 10
)

func defaultTo[T comparable](value *T, to T) {
	var none T
	if *value == none {
		*value = to
	}
}

var limits = []limit{
	{"body_size_limit", func(c *promconfig.ScrapeConfig) { defaultTo(&c.BodySizeLimit, defaultBodySizeLimit) }},
	{"sample_limit", func(c *promconfig.ScrapeConfig) { defaultTo(&c.SampleLimit, defaultSampleLimit) }},
	{"label_limit", func(c *promconfig.ScrapeConfig) { defaultTo(&c.LabelLimit, defaultLabelLimit) }},
	{"label_name_length_limit",
		func(c *promconfig.ScrapeConfig) { defaultTo(&c.LabelNameLengthLimit, defaultLabelNameLengthLimit) }},
	{"label_value_length_limit",
		func(c *promconfig.ScrapeConfig) { defaultTo(&c.LabelValueLengthLimit, defaultLabelValueLengthLimit) }},
}

// limitsIn are the limits that a block has, be it as 0.
func limitsIn(block *yaml.Node) map[string]bool {
	written := map[string]bool{}
	for _, l := range limits {
		written[l.key] = yamltree.Get(block, l.key) != nil
	}
	return written
}

// fillLimits gives a job those that neither it nor global has. job is as written; nil: nobody wrote it.
func (l *loader) fillLimits(cfg *promconfig.ScrapeConfig, job *yaml.Node) {
	written := map[string]bool{}
	if job != nil {
		written = limitsIn(job)
	}
	for _, limit := range limits {
		if !written[limit.key] && !l.globalLimits[limit.key] {
			limit.set(cfg)
		}
	}
}
