//go:build !linux

package footprint

import "errors"

func dropProgram() error { return errors.New("only on Linux") }
