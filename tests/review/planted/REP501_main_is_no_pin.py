from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("org/diffusion", revision="main")  # expect: REP501
