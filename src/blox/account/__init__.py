"""What a person does with an AWS account beside the scheduler: look at it, set it up, check it."""
