package main

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger writes to w what is at least of the level returned, which a reload may change. Of one message at most 100 a second are written, then each hundredth: 10,000 targets
// that go down together must not fill a disk.
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
	return zap.New(zapcore.NewSamplerWithOptions(core, time.Second, 100, 100)), l
}

// setLevel takes a level as the flag and the file have it; neither allows anything that zap does not know.
func setLevel(l zap.AtomicLevel, level string) {
	_ = l.UnmarshalText([]byte(level))
}
