#pragma once
// The torch wheel has Gloo's code, not its headers. These name what c10d's own header mentions;
// only pointers to it cross.
