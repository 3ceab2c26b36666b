package deliver

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/storage/remote/azuread"
	"github.com/prometheus/prometheus/storage/remote/googleiam"
	"github.com/prometheus/sigv4"
	"go.yaml.in/yaml/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// authorized is the Authorization that a receiver gets from a client.
func authorized(t *testing.T, change func(*Settings)) (string, error) {
	t.Helper()
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	ec := testSettings()
	change(&ec)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	ec.URL.URL = u
	c, err := NewClient(ec)
	if err != nil {
		return "", err
	}
	defer c.Close()
	a := c.Post(t.Context(), []byte("x"), wire.V2, 0)
	return got, a.Err
}

func put(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSigV4Fields(t *testing.T) {
	var asked url.Values
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked = r.Form
		fmt.Fprint(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`+
			`<AssumeRoleResult><Credentials>`+
			`<AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>`+
			`<Expiration>2100-01-01T00:00:00Z</Expiration>`+
			`</Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	}))
	defer sts.Close()
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", put(t, "credentials",
		"[other]\naws_access_key_id = PROFILEKEY\naws_secret_access_key = s\n"))
	t.Setenv("AWS_CONFIG_FILE", put(t, "config", ""))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for text, want := range map[string]string{
		"{region: eu-1, access_key: KEY, secret_key: s}":                   "KEY/*/eu-1/aps/aws4_request",
		"{region: eu-1, access_key: KEY, secret_key: s, service_name: es}": "KEY/*/eu-1/es/aws4_request",
		"{region: eu-1, profile: other}":                                   "PROFILEKEY/*/eu-1/aps/aws4_request",
		"{region: eu-1, access_key: KEY, secret_key: s, role_arn: 'arn:aws:iam::1:role/r', external_id: ext, " +
			"session_name: ses, tags: {k: v}}": "ROLEKEY/*/eu-1/aps/aws4_request",
	} {
		var cfg sigv4.SigV4Config
		if err := yaml.UnmarshalStrict([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		got, err := authorized(t, func(ec *Settings) { ec.SigV4Config = &cfg })
		before, after, _ := strings.Cut("AWS4-HMAC-SHA256 Credential="+want, "*")
		if err != nil || !strings.HasPrefix(got, before) || !strings.Contains(got, after) {
			t.Errorf("%s: %q, %v; want %s", text, got, err, want)
		}
	}
	for key, want := range map[string]string{"RoleArn": "arn:aws:iam::1:role/r", "ExternalId": "ext",
		"RoleSessionName": "ses", "Tags.member.1.Key": "k", "Tags.member.1.Value": "v"} {
		if got := asked.Get(key); got != want {
			t.Errorf("%s = %s, want %s", key, got, want)
		}
	}
	_, err := authorized(t, func(ec *Settings) {
		ec.SigV4Config = &sigv4.SigV4Config{Region: "eu-1", AccessKey: "KEY", SecretKey: "s",
			RoleARN: "arn:aws:iam::1:role/r", UseFIPSSTSEndpoint: true}
	})
	if err == nil || !strings.Contains(err.Error(), "FIPS") {
		t.Errorf("use_fips_sts_endpoint beside an endpoint of one's own: %v, want the library to refuse that", err)
	}
}

func TestAzureADFields(t *testing.T) {
	var asked url.Values
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token": "tok", "expires_on": "4102444800", "resource": "r", "token_type": "Bearer"}`)
	}))
	defer identity.Close()
	t.Setenv("IDENTITY_ENDPOINT", identity.URL)
	t.Setenv("IDENTITY_HEADER", "h")
	const id = "00000000-0000-0000-0000-000000000001"
	read := func(text string) *azuread.AzureADConfig {
		t.Helper()
		var cfg azuread.AzureADConfig
		if err := yaml.UnmarshalStrict([]byte(text), &cfg); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return &cfg
	}
	for text, resource := range map[string]string{
		"{managed_identity: {client_id: " + id + "}}":                                   "https://monitor.azure.com/",
		"{managed_identity: {client_id: " + id + "}, cloud: AzureGovernment}":           "https://monitor.azure.us/",
		"{managed_identity: {client_id: " + id + "}, scope: 'https://x.test/.default'}": "https://x.test",
	} {
		got, err := authorized(t, func(ec *Settings) { ec.AzureADConfig = read(text) })
		if err != nil || got != "Bearer tok" {
			t.Errorf("%s: %q, %v", text, got, err)
		}
		if asked.Get("client_id") != id || strings.TrimSuffix(asked.Get("resource"),
			"/") != strings.TrimSuffix(resource, "/") {
			t.Errorf("%s: asked for %v, want resource %s", text, asked, resource)
		}
	}

	// The other ways ask Microsoft; that they are gone is all that can be seen from here.
	certPEM, key := selfSigned(t)
	cert, both := put(t, "cert.pem", certPEM), put(t, "both.pem", certPEM+key)
	keyFile := put(t, "key.pem", key)
	for _, text := range []string{
		"{workload_identity: {client_id: " + id + ", tenant_id: " + id + ", token_file_path: /token}}",
		"{oauth: {client_id: " + id + ", client_secret: s, tenant_id: " + id + "}}",
		"{sdk: {tenant_id: " + id + "}}",
		"{certificate: {client_id: " + id + ", tenant_id: " + id + ", certificate_path: " + both +
			", send_certificate_chain: true}}",
		"{certificate: {client_id: " + id + ", tenant_id: " + id + ", certificate_path: " + cert +
			", certificate_key_path: " + keyFile + "}}",
	} {
		ec := testSettings()
		ec.AzureADConfig = read(text)
		c, err := NewClient(ec)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		c.Close()
	}
	for text, says := range map[string]string{
		"certificate_path: /gone.pem":                                       "gone.pem",
		"certificate_path: " + cert + ", certificate_key_path: /gone.pem":   "gone.pem",
		"certificate_path: " + both + ", certificate_password: unnecessary": "pkcs12", // only such files have one
	} {
		ec := testSettings()
		ec.AzureADConfig = read("{certificate: {client_id: " + id + ", tenant_id: " + id + ", " + text + "}}")
		if _, err := NewClient(ec); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want an error with %s", text, err, says)
		}
	}
}

// selfSigned is a certificate and its key, in PEM.
func selfSigned(t *testing.T) (cert, private string) {
	t.Helper()
	key := rsaKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), keyPEM(t, key)
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyPEM(t *testing.T, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestGoogleIAMFields(t *testing.T) {
	asked := 0
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token": "tok", "token_type": "Bearer", "expires_in": 3600}`)
	}))
	defer tokens.Close()
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@b.test", "private_key_id": "k", "private_key": keyPEM(t,
			rsaKey(t)), "token_uri": tokens.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := authorized(t, func(ec *Settings) {
		ec.GoogleIAMConfig = &googleiam.Config{CredentialsFile: put(t, "account.json", string(account))}
	})
	if err != nil || got != "Bearer tok" || asked == 0 {
		t.Errorf("%q, %v, %d tokens asked for", got, err, asked)
	}
	_, err = authorized(t, func(ec *Settings) { ec.GoogleIAMConfig = &googleiam.Config{CredentialsFile: "/gone.json"} })
	if err == nil {
		t.Error("a file that is not there was taken")
	}
}
