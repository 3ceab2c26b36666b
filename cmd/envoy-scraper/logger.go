package main

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
)

// newLogger returns a logger that writes to w, and its level, which a reload may change. Of the same message it writes
// 100 per second, then every hundredth: 10,000 targets that go down together must not fill a disk.
func newLogger(w io.Writer, level, format string) (*zap.Logger, zap.AtomicLevel) {
	l := zap.NewAtomicLevel()
	setLevel(l, level)
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.EncodeDuration = zapcore.StringDurationEncoder
	encoder := zapcore.NewConsoleEncoder(cfg)
	if format == "json" {
		encoder = zapcore.NewJSONEncoder(cfg)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), l)
	return zap.New(zapcore.NewSamplerWithOptions(masking{core}, time.Second, 100, 100)), l
}

// setLevel sets a level by the name that the flag and the file use. Both allow only names that zap knows.
func setLevel(l zap.AtomicLevel, level string) {
	_ = l.UnmarshalText([]byte(level))
}

// masking removes credentials in URLs from everything that is logged, because libraries log their errors unchanged.
type masking struct{ zapcore.Core }

// With implements zapcore.Core.
func (m masking) With(fields []zapcore.Field) zapcore.Core {
	return masking{m.Core.With(masked(fields))}
}

// Check implements zapcore.Core.
func (m masking) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if m.Enabled(e.Level) {
		return to.AddCore(e, m)
	}
	return to
}

// Write implements zapcore.Core.
func (m masking) Write(e zapcore.Entry, fields []zapcore.Field) error {
	e.Message = config.RedactURLs(e.Message)
	return m.Core.Write(e, masked(fields))
}

// masked returns fields without credentials. The field target has none: it is made without them.
func masked(fields []zapcore.Field) []zapcore.Field {
	out := make([]zapcore.Field, len(fields))
	for i, f := range fields {
		out[i] = f
		switch err, _ := f.Interface.(error); {
		case f.Key == "target":
		case f.Type == zapcore.StringType:
			out[i].String = config.RedactURLs(f.String)
		case f.Type == zapcore.ErrorType && err != nil:
			out[i] = zap.String(f.Key, config.RedactURLs(err.Error()))
		}
	}
	return out
}
