package remotewrite

import (
	"math"
	"strconv"

	"go.uber.org/zap"
)

// maxLoggedRequest bounds what failed_request_logging writes of one request.
const maxLoggedRequest = 64 << 10

// logFailed writes out what was in a 2.0 request that failed, for who is looking for the reason.
func (e *endpoint) logFailed(m message, a answer) {
	if !e.log.Core().Enabled(zap.DebugLevel) {
		return
	}
	c, err := parseMessage(m)
	if err != nil {
		return // told where it is counted
	}
	e.log.Debug("remote write request failed", zap.Int("status", a.status), zap.String("error", a.message), zap.NamedError("cause", a.err),
		zap.Int("samples", m.samples), zap.String("request", string(c.describe(maxLoggedRequest))))
}

// describe writes the series of a message with their samples, a line each, and about limit bytes of them.
func (c *content) describe(limit int) []byte {
	var out []byte
	for i, body := range c.series {
		if len(out) > limit {
			return append(strconv.AppendInt(append(out, "… and "...), int64(len(c.series)-i), 10), " series more"...)
		}
		out = append(out, '{')
		_ = c.eachLabel(i, func(name, value []byte) {
			out = append(append(out, name...), '=')
			out = append(strconv.AppendQuote(out, string(value)), ',')
		})
		out = append(out, '}')
		at, err := seriesTime(body)
		if err != nil {
			continue
		}
		_ = eachField(body, func(f field) error {
			switch f.whole[0] {
			case tagSample:
				out = strconv.AppendFloat(append(out, ' '), sampleValue(f.data), 'g', -1, 64)
			case tagHistogram:
				out = append(out, " a histogram"...)
			}
			return nil
		})
		out = append(strconv.AppendInt(append(out, " @ "...), at, 10), '\n')
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
