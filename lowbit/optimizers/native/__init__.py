"""Steps of optimizers in C++: what torch has no kernel for, on the CPU and in fp32."""
