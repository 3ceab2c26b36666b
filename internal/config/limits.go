package config

import (
	"github.com/alecthomas/units"
	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// limit is a limit of a page with a default of ours. The default applies if neither the job nor global sets the key; an
// explicit 0 means no limit. Anyone who can create a pod controls its page, so every page needs limits. They are far
// above the pages of a mesh.
type limit struct {
	key string
	set func(*promconfig.ScrapeConfig) // sets the default if the value is 0
}

const (
	defaultBodySizeLimit units.Base2Bytes = 64 << 20
	// A page of body_size_limit bytes with lines of 134 bytes, shorter than most of Envoy's, stays below it. A new line
	// takes up to 400 bytes of memory while the page is read.
	defaultSampleLimit = 500_000
	// A series of a mesh has about 30 labels. Mapping all labels and annotations of a pod adds about 100.
	defaultLabelLimit = 500
	// Receivers accept much less: 1,024 and 2,048 are common.
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

// limitsIn returns which limits a block sets, even to 0.
func limitsIn(block *yaml.Node) map[string]bool {
	written := map[string]bool{}
	for _, l := range limits {
		written[l.key] = yamltree.Get(block, l.key) != nil
	}
	return written
}

// fillLimits sets the default limits of a job. job is the job as written, or nil.
func (l *loader) fillLimits(cfg *promconfig.ScrapeConfig, job *yaml.Node) {
	written := limitsIn(job)
	for _, limit := range limits {
		if !written[limit.key] && !l.globalLimits[limit.key] {
			limit.set(cfg)
		}
	}
}
