package config

import _ "embed"

// The configuration that runs without a file.
const (
	builtinName = "(built-in)"
	builtinJob  = "envoy-stats"
)

//go:embed builtin.yml
var builtinFile []byte
