#pragma once
// What the descriptors of fake.cpp create and destroy.

void* make_fake();
void delete_fake(void* modality);
