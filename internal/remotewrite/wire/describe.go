package wire

import (
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

const (
	maxSeriesBytes = 4 << 10 // limit of the labels that Labels returns
	maxLabelBytes  = 256     // limit of each of their values
)

// Labels returns the labels of a series for people: long values are cut, and labels beyond 4 KiB are left out.
func (c *Content) Labels(i int) labels.Labels {
	b := labels.NewScratchBuilder(16)
	size := 0
	_ = c.EachLabel(i, func(name, value []byte) {
		text := strings.ToValidUTF8(string(value[:min(len(value), maxLabelBytes)]), "")
		if len(text) < len(value) {
			text += "…"
		}
		if size += len(name) + len(text); size <= maxSeriesBytes || string(name) == model.MetricNameLabel {
			b.Add(string(name), text)
		}
	})
	b.Sort()
	return b.Labels()
}

// Describe returns the series of a message, one per line, each with its samples, up to about limit bytes. For example:
//
//	{__name__="up",job="envoy",} 1 @ 1700000000000 0 @ 1700000015000
func (c *Content) Describe(limit int) []byte {
	var out []byte
	for i, body := range c.series {
		if len(out) > limit {
			return append(strconv.AppendInt(append(out, "… and "...), int64(len(c.series)-i), 10), " series more"...)
		}
		out = append(out, '{')
		_ = c.EachLabel(i, func(name, value []byte) {
			out = append(append(out, name...), '=')
			out = append(strconv.AppendQuote(out, string(value)), ',')
		})
		out = append(out, '}')
		_ = eachField(body, func(f field) error {
			switch f.whole[0] {
			case tagSample:
				out = strconv.AppendFloat(append(out, ' '), sampleValue(f.data), 'g', -1, 64)
			case tagHistogram:
				out = append(out, " a histogram"...)
			default:
				return nil
			}
			at, err := sampleTime(f)
			out = strconv.AppendInt(append(out, " @ "...), at, 10)
			return err
		})
		out = append(out, '\n')
	}
	return out
}

func sampleValue(body []byte) (v float64) {
	_ = eachField(body, func(f field) error {
		if f.whole[0] == tagSampleValue {
			v = math.Float64frombits(f.value)
		}
		return nil
	})
	return v
}
