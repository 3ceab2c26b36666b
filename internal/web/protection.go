package web

import (
	"fmt"
	"os"
	"strings"

	toolkit "github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
)

// Protection returns what a web configuration file requires of clients: "TLS", "a password", "TLS and a password", or
// nothing. Without a file it returns nothing.
func Protection(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--web.config.file: %w", err)
	}
	var cfg toolkit.Config
	if err := yaml.Unmarshal(text, &cfg); err != nil {
		return "", fmt.Errorf("--web.config.file: %s: %w", file, err)
	}
	var asks []string
	if cfg.TLSConfig.IsEnabled() {
		asks = append(asks, "TLS")
	}
	if len(cfg.Users) > 0 {
		asks = append(asks, "a password")
	}
	return strings.Join(asks, " and "), nil
}
