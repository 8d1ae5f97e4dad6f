package gate

import (
	"time"

	"github.com/cardea-dev/cardea/proxy/policy"
)

// Directory is the credentials of a policy, for engines. Once the policy was not proven
// fresh for a while it still knows them: the client is then told so after it has proven
// who it is.
type Directory struct{ Source policy.Source }

// Verifiers implements engine.Directory.
func (d Directory) Verifiers(grant string, now time.Time) []policy.Verifier {
	return d.Source.Current().Verifiers(grant, now)
}
